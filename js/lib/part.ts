/** Which part of a picture is on show: `k` times as large, from (x, y) on, as shares of its width and height. */
import { clamp } from "./format.ts";

export interface Part {
  readonly k: number;
  readonly x: number;
  readonly y: number;
}

/** A place on the stage, as shares of its width and height. */
export type Spot = readonly [x: number, y: number];

export const WHOLE: Part = { k: 1, x: 0, y: 0 };
const MIDDLE: Spot = [0.5, 0.5];

const within = (k: number, x: number, y: number): Part => ({
  k,
  x: clamp(x, 0, 1 - 1 / k),
  y: clamp(y, 0, 1 - 1 / k),
});

/** Enlarged by a factor, `most` times at most, around a spot that stays where it is. */
export function zoomed(part: Part, factor: number, most: number, [x, y]: Spot = MIDDLE): Part {
  const k = clamp(part.k * factor, 1, Math.max(1, most));
  return within(k, part.x + x / part.k - x / k, part.y + y / part.k - y / k);
}

/** Drawn along with a hand that moved so far, in shares of the stage. */
export const dragged = ({ k, x, y }: Part, dx: number, dy: number): Part => within(k, x - dx / k, y - dy / k);

/** Moved so that a place in the picture is in the middle, if it is not on show. */
export function showing(part: Part, x: number, y: number): Part {
  const { k } = part;
  const seen = x >= part.x && y >= part.y && x <= part.x + 1 / k && y <= part.y + 1 / k;
  return seen ? part : within(k, x - 0.5 / k, y - 0.5 / k);
}

/** Where on the stage a place in the picture is, and the other way round. */
export const onStage = (part: Part, x: number, y: number): Spot => [(x - part.x) * part.k, (y - part.y) * part.k];
export const inPicture = (part: Part, [x, y]: Spot): Spot => [part.x + x / part.k, part.y + y / part.k];
