/** Where the regions are: size, centre, outline, and the word for their place in the picture. */

export interface Place {
  /** Pixels. */
  area: number;
  /** Centre, in pixels from the upper left corner. */
  x: number;
  y: number;
  /** Bounds, inclusive. */
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

export function places(labels: Uint16Array, width: number, height: number, count: number): Place[] {
  const all: Place[] = Array.from({ length: count }, () => ({
    area: 0,
    x: 0,
    y: 0,
    x0: width,
    y0: height,
    x1: 0,
    y1: 0,
  }));
  for (let i = 0; i < width * height; i++) {
    const p = all[labels[i] as number] as Place;
    const x = i % width;
    const y = (i / width) | 0;
    p.area++;
    p.x += x;
    p.y += y;
    p.x0 = Math.min(p.x0, x);
    p.x1 = Math.max(p.x1, x);
    p.y0 = Math.min(p.y0, y);
    p.y1 = Math.max(p.y1, y);
  }
  for (const p of all) {
    p.x = p.x / Math.max(1, p.area) + 0.5;
    p.y = p.y / Math.max(1, p.area) + 0.5;
  }
  return all;
}

/** Bounds of several places together. */
export function around(all: readonly Place[]): Pick<Place, "x0" | "y0" | "x1" | "y1"> {
  return {
    x0: Math.min(...all.map((p) => p.x0)),
    y0: Math.min(...all.map((p) => p.y0)),
    x1: Math.max(...all.map((p) => p.x1)),
    y1: Math.max(...all.map((p) => p.y1)),
  };
}

/** "upper left", "middle right", "centre". */
export function placeWord(p: Place, width: number, height: number): string {
  const row = p.y < height / 3 ? "upper" : p.y > (2 * height) / 3 ? "lower" : "";
  const column = p.x < width / 3 ? "left" : p.x > (2 * width) / 3 ? "right" : "";
  if (row && column) return `${row} ${column}`;
  if (row) return `${row} middle`;
  return column ? `middle ${column}` : "centre";
}

/** The nearest region in a direction, as arrow keys want it, or -1. */
export function neighbour(all: readonly Place[], from: number, dx: number, dy: number): number {
  const a = all[from] as Place;
  let best = -1;
  let least = Number.POSITIVE_INFINITY;
  all.forEach((b, r) => {
    if (r === from || !b.area) return;
    const along = (b.x - a.x) * dx + (b.y - a.y) * dy;
    const across = Math.abs((b.x - a.x) * dy) + Math.abs((b.y - a.y) * dx);
    if (along <= 0 || along < across * 0.5) return;
    const cost = along + across * 1.8;
    if (cost < least) {
      least = cost;
      best = r;
    }
  });
  return best;
}

type Point = [number, number];

/**
 * Closed outlines of a set of pixels: rings of corners, with each stair cut by half a pixel, so that edges look crisp
 * at any size and stay within half a pixel of the truth. Holes are rings of their own; fill with "evenodd". Bounds, if
 * they are known, save looking at the rest of the picture.
 */
export function rings(
  inside: (i: number) => unknown,
  width: number,
  height: number,
  { x0, y0, x1, y1 } = { x0: 0, y0: 0, x1: width - 1, y1: height - 1 },
): Point[][] {
  const at = (x: number, y: number): boolean =>
    x >= 0 && y >= 0 && x < width && y < height && Boolean(inside(y * width + x));
  // Directed edges along pixel sides, with the inside on the right; from each corner there start at most two.
  const starts = new Map<number, number[]>();
  const id = (x: number, y: number): number => y * (width + 1) + x;
  const edge = (x: number, y: number, u: number, v: number): void => {
    const from = id(x, y);
    const list = starts.get(from);
    if (list) list.push(id(u, v));
    else starts.set(from, [id(u, v)]);
  };
  for (let y = y0; y <= y1; y++) {
    for (let x = x0; x <= x1; x++) {
      if (!at(x, y)) continue;
      if (!at(x, y - 1)) edge(x, y, x + 1, y);
      if (!at(x + 1, y)) edge(x + 1, y, x + 1, y + 1);
      if (!at(x, y + 1)) edge(x + 1, y + 1, x, y + 1);
      if (!at(x - 1, y)) edge(x, y + 1, x, y);
    }
  }
  const found: Point[][] = [];
  const point = (n: number): Point => [n % (width + 1), Math.floor(n / (width + 1))];
  for (const [first] of starts) {
    while (starts.get(first)?.length) {
      const ring: Point[] = [];
      let now = first;
      let before = -1;
      do {
        ring.push(point(now));
        const next = starts.get(now) as number[];
        // Where two pixels touch at a corner the path turns right, which keeps them apart.
        const pick = next.length > 1 && before >= 0 ? turnRight(before, now, next, width) : 0;
        before = now;
        now = next.splice(pick, 1)[0] as number;
      } while (now !== first);
      found.push(cutCorners(ring));
    }
  }
  return found;
}

function turnRight(before: number, now: number, next: number[], width: number): number {
  const x = (n: number): number => n % (width + 1);
  const y = (n: number): number => Math.floor(n / (width + 1));
  const dx = x(now) - x(before);
  const dy = y(now) - y(before);
  const right = next.findIndex((n) => x(n) - x(now) === -dy && y(n) - y(now) === dx);
  return Math.max(0, right);
}

/** Replace every corner by the middles of its two sides; straight runs keep only their ends. */
function cutCorners(ring: Point[]): Point[] {
  const out: Point[] = [];
  const n = ring.length;
  for (let i = 0; i < n; i++) {
    const [ax, ay] = ring[i] as Point;
    const [bx, by] = ring[(i + 1) % n] as Point;
    const [cx, cy] = ring[(i + 2) % n] as Point;
    const straight = ax + cx === 2 * bx && ay + cy === 2 * by;
    const last = out.at(-1);
    const middle: Point = [(ax + bx) / 2, (ay + by) / 2];
    const after: Point = [(bx + cx) / 2, (by + cy) / 2];
    if (straight) continue;
    if (!last || last[0] !== middle[0] || last[1] !== middle[1]) out.push(middle);
    out.push(after);
  }
  const [start, end] = [out[0], out.at(-1)];
  if (start && end && start[0] === end[0] && start[1] === end[1]) out.pop(); // the ring closes itself
  return out;
}
