import { expect, test } from "vitest";
import { makeRamps, oklab, pack, type Rgb, rampFor } from "../lib/color.ts";

const ramps = makeRamps();
const GREY: Rgb = [128, 128, 128];
const seen = (name: "vermilion-blue" | "purple-green", t: number): number => {
  const ramp = ramps[name];
  const alpha = ramp.alpha(t) * 0.8;
  const mixed = ramp.color(t).map((c) => c * alpha + 128 * (1 - alpha)) as unknown as Rgb;
  return Math.hypot(...oklab(mixed).map((v, i) => v - (oklab(GREY)[i] as number)));
};

test("OKLab of white, black and red are the published values", () => {
  expect(oklab([255, 255, 255])[0]).toBeCloseTo(1, 4);
  expect(oklab([0, 0, 0])[0]).toBeCloseTo(0, 6);
  const [l, a, b] = oklab([255, 0, 0]);
  expect([l, a, b].map((v) => Number(v.toFixed(3)))).toEqual([0.628, 0.225, 0.126]);
});

test.each(["vermilion-blue", "purple-green"] as const)("%s: distance seen grows in proportion to the value", (name) => {
  for (const side of [1, -1]) {
    const end = seen(name, side);
    for (const t of [0.1, 0.25, 0.5, 0.75]) expect(seen(name, side * t) / end).toBeCloseTo(t, 1);
  }
});

test.each(["vermilion-blue", "purple-green"] as const)("%s: both ends are equally light", (name) => {
  const light = (t: number): number => oklab(ramps[name].color(t))[0];
  expect(Math.abs(light(1) - light(-1))).toBeLessThan(0.01);
});

test("one-sided maps get lighter all the way", () => {
  for (const name of ["viridis", "cividis"] as const) {
    const light = Array.from({ length: 21 }, (_, i) => oklab(ramps[name].color(i / 20))[0]);
    for (let i = 1; i < light.length; i++) expect(light[i]).toBeGreaterThan(light[i - 1] as number);
  }
});

test("a map without a sign never gets a two-sided ramp, whatever was chosen", () => {
  expect(rampFor(ramps, "vermilion-blue", false).signed).toBe(false);
  expect(rampFor(ramps, "viridis", true).signed).toBe(true);
  expect(rampFor(ramps, "purple-green", true)).toBe(ramps["purple-green"]);
});

test("pixels are packed as canvas wants them", () => {
  const view = new Uint8Array(new Uint32Array([pack([1, 2, 3], 1)]).buffer);
  expect([...view]).toEqual([1, 2, 3, 255]);
});
