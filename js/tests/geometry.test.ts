import { expect, test } from "vitest";
import { neighbour, places, placeWord, rings } from "../lib/geometry.ts";

/** Area inside rings by the shoelace formula; holes turn the other way and count negative. */
const area = (found: [number, number][][]): number =>
  found.reduce((sum, ring) => {
    const twice = ring.reduce((n, [x, y], i) => {
      const [u, v] = ring[(i + 1) % ring.length] as [number, number];
      return n + x * v - u * y;
    }, 0);
    return sum + twice / 2;
  }, 0);

const outline = (picture: string[]): [number, number][][] => {
  const width = (picture[0] as string).length;
  const pixels = picture.join("");
  return rings((i) => pixels[i] === "#", width, picture.length);
};

test("one pixel gives a diamond within it", () => {
  const found = outline(["#"]);
  expect(found).toHaveLength(1);
  expect([...(found[0] as [number, number][])].sort()).toEqual([
    [0, 0.5],
    [0.5, 0],
    [0.5, 1],
    [1, 0.5],
  ]);
});

test("a square loses only its four corners", () => {
  expect(area(outline(["####", "####", "####", "####"]))).toBeCloseTo(16 - 4 * 0.125, 6);
});

test("a hole is a ring of its own", () => {
  const found = outline(["###", "#.#", "###"]);
  expect(found).toHaveLength(2);
  expect(area(found)).toBeGreaterThan(7);
  expect(area(found)).toBeLessThan(9);
});

test("pixels that touch at a corner stay apart", () => {
  expect(outline(["#.", ".#"])).toHaveLength(2);
});

test("every point lies within half a pixel of the true border", () => {
  const found = outline([".##..", "####.", ".###.", "..#.."]);
  for (const [x, y] of found.flat()) expect(Number.isInteger(x * 2) && Number.isInteger(y * 2)).toBe(true);
});

test("places know area, centre and bounds", () => {
  const labels = Uint16Array.from([0, 0, 1, 0, 0, 1]);
  const [zero, one] = places(labels, 3, 2, 2);
  expect(zero).toMatchObject({ area: 4, x: 1, y: 1, x0: 0, x1: 1, y0: 0, y1: 1 });
  expect(one).toMatchObject({ area: 2, x: 2.5, y: 1 });
});

test("places have words", () => {
  const at = (x: number, y: number): string => placeWord({ area: 1, x, y, x0: 0, x1: 0, y0: 0, y1: 0 }, 90, 90);
  expect([at(10, 10), at(80, 80), at(45, 45), at(45, 10), at(80, 45)]).toEqual([
    "upper left",
    "lower right",
    "centre",
    "upper middle",
    "middle right",
  ]);
});

test("arrow keys go to the nearest region that way and stop at the border", () => {
  const grid = Uint16Array.from({ length: 81 }, (_, i) => Math.floor(i / 27) * 3 + Math.floor((i % 9) / 3));
  const all = places(grid, 9, 9, 9);
  expect(neighbour(all, 4, 1, 0)).toBe(5);
  expect(neighbour(all, 4, 0, -1)).toBe(1);
  expect(neighbour(all, 5, 1, 0)).toBe(-1);
});
