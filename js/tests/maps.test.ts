import { expect, test } from "vitest";
import { float32, uint16 } from "../lib/bytes.ts";
import { Evidence } from "../lib/evidence.ts";
import { enlarge, refine } from "../lib/field.ts";
import { digitsFor, percent, signed } from "../lib/format.ts";
import { places } from "../lib/geometry.ts";
import { summarise } from "../lib/summary.ts";
import { bandOf, outcome, promise, score } from "../lib/word.ts";
import type { Heat } from "../protocol.ts";
import { bytes } from "../testing/fake_model.ts";

const heat = (regions: number[], more: Partial<Heat> = {}): Heat => ({
  id: 1,
  method: "lime",
  label: "LIME",
  target: 0,
  target_name: "cat",
  kind: "regions",
  width: 0,
  height: 0,
  pixels: bytes(new Float32Array(0)),
  regions: bytes(Float32Array.from(regions)),
  errors: bytes(new Float32Array(0)),
  signed: true,
  additive: true,
  unit: "probability",
  partial: false,
  n_forward: 10,
  seconds: 1,
  note: "",
  ...more,
});

test("bytes are read from any offset", () => {
  expect([...float32(bytes(Float32Array.from([1.5, -2])))]).toEqual([1.5, -2]);
  expect([...uint16(bytes(Uint16Array.from([7, 65_535])))]).toEqual([7, 65_535]);
  expect(float32(undefined)).toHaveLength(0);
});

test("enlarging is bilinear with aligned centres, as in torch", () => {
  // torch.nn.functional.interpolate([[0, 1]], size=4, mode="bilinear", align_corners=False)
  expect([...enlarge(Float32Array.from([0, 1]), 2, 1, 4, 1)]).toEqual([0, 0.25, 0.75, 1]);
  const square = enlarge(Float32Array.from([0, 1, 2, 3]), 2, 2, 4, 4);
  expect(square[5]).toBeCloseTo(0.75, 6);
  expect(square[15]).toBe(3);
});

test("finer labels keep every pixel's centre and cut corners by vote", () => {
  const labels = Uint16Array.from([0, 0, 0, 1]);
  const fine = refine(labels, 2, 2, 4);
  expect(fine[0]).toBe(0);
  expect(fine[8 * 6 + 6]).toBe(1);
  expect(fine.filter((v) => v === 1).length).toBeLessThan(16);
  expect(refine(labels, 2, 2, 1)).toBe(labels);
});

test("evidence ranks by size and ends its colours evenly around zero", () => {
  const e = new Evidence(heat([0.01, -0.04, 0.02]));
  expect(e.order).toEqual([1, 2, 0]);
  expect(e.rank).toEqual([3, 1, 2]);
  expect([e.low, e.high]).toEqual([-e.high, e.high]);
  expect(e.level(-0.04)).toBeCloseTo(-1, 5);
  expect(e.text(0.02)).toBe("+2.0");
});

test("a region whose band includes zero is unclear", () => {
  const e = new Evidence(heat([0.01, 0.03], { errors: bytes(Float32Array.from([0.01, 0.01])) }));
  expect([e.unclear(0), e.unclear(1)]).toEqual([true, false]);
  expect(e.band(0)).toBeCloseTo(0.0196, 5);
});

test("the strongest share counts sizes, and the sign filter keeps its side", () => {
  const e = new Evidence(heat([4, -3, 2, -1].map((v) => v / 100)));
  const cut = e.cut(0.5);
  const shown = (sign: "both" | "for" | "against"): number[] =>
    [0, 1, 2, 3].filter((r) => e.shown(e.value(r), cut, sign));
  expect(shown("both")).toEqual([0, 1]);
  expect(shown("for")).toEqual([0]);
  expect(shown("against")).toEqual([1]);
  expect(e.cut(1)).toBe(-1);
});

test("an empty map is neutral: no level is NaN and the sentence says so", () => {
  const e = new Evidence(heat([0, 0]));
  expect(e.empty).toBe(true);
  expect(e.level(0)).toBe(0);
  expect(summarise(e, "cat", [], 2, 1)).toContain("no evidence for cat");
});

test("the sentence says where, how concentrated and how much is unclear", () => {
  const labels = Uint16Array.from({ length: 9 }, (_, i) => i);
  const errors = bytes(Float32Array.from({ length: 9 }, () => 0.004));
  const e = new Evidence(heat([0.06, 0, 0, 0, 0.02, 0, 0, 0, -0.05], { errors }));
  expect(summarise(e, "cat", places(labels, 3, 3, 9), 3, 3)).toBe(
    "Most evidence for cat: upper left, centre; 2 regions hold 100\u202f% of it. " +
      "Strongest against: lower right. 6 of 9 regions are too uncertain to call.",
  );
});

test("a map of pixels without sign is put into words, too", () => {
  const pixels = bytes(Float32Array.from([1, 0, 0, 0]));
  const e = new Evidence(
    heat([1, 0, 0, 0], { kind: "pixels", width: 2, height: 2, pixels, signed: false, unit: "score" }),
  );
  const labels = Uint16Array.from({ length: 64 }, (_, i) => (i % 8 < 4 ? 0 : 1) + (i < 32 ? 0 : 2));
  expect(summarise(e, "cat", places(labels, 8, 8, 4), 8, 8)).toContain("2 × 2 cells");
});

test("switching off takes the weight away, switching on gives it back", () => {
  const e = new Evidence(heat([0.03, -0.01], { errors: bytes(Float32Array.from([0.003, 0.004])) }));
  expect(promise(e, [0, 1], () => true)).toBeCloseTo(-2, 4);
  expect(promise(e, [0], () => false)).toBeCloseTo(3, 4);
  expect(bandOf(e, [0, 1])).toBeCloseTo(1.96 * 0.5, 4);
});

test("the model keeps the map's word, does more, less, or the opposite", () => {
  const test_ = (predicted: number, measured: number | null, band = 0.5): ReturnType<typeof outcome> =>
    outcome({ label: "", regions: [0], predicted, band, measured });
  expect(test_(-2, -2.4)).toBe("kept");
  expect(test_(-2, 1)).toBe("opposite");
  expect(test_(-2, -4)).toBe("larger");
  expect(test_(-2, -0.5)).toBe("smaller");
  expect(test_(-2, null)).toBeNull();
  const tests = [
    { label: "", regions: [0], predicted: -2, band: 0, measured: -3 },
    { label: "", regions: [1], predicted: -2, band: 0, measured: 1 },
    { label: "", regions: [2], predicted: -2, band: 0, measured: null },
  ];
  expect(score(tests)).toEqual({ right: 1, of: 2, miss: 2 });
});

test("numbers are set with a true minus, a sign and a thin space", () => {
  expect([signed(1.25), signed(-0.44), signed(-0.01)]).toEqual(["+1.3", "\u22120.4", "0.0"]);
  expect([percent(0.383), percent(0.0014)]).toEqual(["38.3\u202f%", "0.14\u202f%"]);
  expect([digitsFor(4.6), digitsFor(0.046), digitsFor(300), digitsFor(0)]).toEqual([1, 3, 1, 1]);
});

test("a few pixels far beyond the others do not take all colour from them, and the bar says so", () => {
  const field = Float32Array.from({ length: 10_000 }, (_, i) => (i < 5 ? -50 : Math.sin(i)));
  const heat = { kind: "pixels", signed: true, unit: "logit", width: 100, height: 100 } as Heat;
  const parts = {
    pixels: bytes(field),
    regions: bytes(Float32Array.from([2e-7, -1e-7])),
    errors: bytes(new Float32Array(0)),
  };
  const e = new Evidence({ ...heat, ...parts });
  expect(e.clipped).toBe(true);
  expect(e.high).toBeCloseTo(1, 3);
  expect(e.level(-50)).toBe(-1);
  expect(e.text(e.high)).toBe("+1.00");
  expect([e.textOf(0), e.textOf(1)]).toEqual(["+2.0e\u22127", "\u22121.0e\u22127"]);
  const even = new Evidence({ ...heat, ...parts, pixels: bytes(field.map((v) => Math.max(v, -1))) });
  expect(even.clipped).toBe(false);
});
