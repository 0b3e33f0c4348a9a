import { expect, test } from "vitest";
import { dragged, inPicture, onStage, type Part, type Spot, showing, WHOLE, zoomed } from "../lib/part.ts";

const close = (a: Part, b: Part): void => {
  for (const key of ["k", "x", "y"] as const) expect(a[key]).toBeCloseTo(b[key], 9);
};

test("what lies under the pointer stays there", () => {
  let part = zoomed(WHOLE, 4, 100);
  for (const spot of [
    [0.3, 0.7],
    [0.9, 0.1],
  ] as Spot[]) {
    const before = inPicture(part, spot);
    part = zoomed(part, 1.7, 100, spot);
    expect(inPicture(part, spot)[0]).toBeCloseTo(before[0], 9);
    expect(inPicture(part, spot)[1]).toBeCloseTo(before[1], 9);
  }
});

test("the picture fills the stage, however far out or to the side one goes", () => {
  close(zoomed({ k: 3, x: 0.6, y: 0.1 }, 0.01, 10), WHOLE);
  close(dragged({ k: 2, x: 0.25, y: 0.25 }, 5, -5), { k: 2, x: 0, y: 0.5 });
  close(dragged(WHOLE, 0.3, 0.3), WHOLE);
  close(zoomed(WHOLE, 4, 4, [1, 1]), { k: 4, x: 0.75, y: 0.75 });
});

test("there is a largest size", () => {
  expect(zoomed(WHOLE, 1000, 12).k).toBe(12);
  expect(zoomed(WHOLE, 1000, 0.5).k).toBe(1);
});

test("what is dragged follows the hand", () => {
  const part = { k: 4, x: 0.5, y: 0.5 };
  const place = inPicture(part, [0.5, 0.5]);
  expect(onStage(dragged(part, 0.1, -0.2), ...place)[0]).toBeCloseTo(0.6, 9);
  expect(onStage(dragged(part, 0.1, -0.2), ...place)[1]).toBeCloseTo(0.3, 9);
});

test("a place that is not on show is brought to the middle, another is left where it is", () => {
  const part = { k: 4, x: 0, y: 0 };
  expect(showing(part, 0.1, 0.2)).toBe(part);
  expect(onStage(showing(part, 0.6, 0.5), 0.6, 0.5)).toEqual([0.5, 0.5]);
  close(showing(part, 1, 1), { k: 4, x: 0.75, y: 0.75 });
});
