/** Does the map keep its word? What it promised a switch would do, beside what the model did. In points. */
import type { Evidence } from "./evidence.ts";

export interface Test {
  label: string;
  regions: number[];
  predicted: number;
  /** Half of the 95 % band. */
  band: number;
  /** null until the model has answered. */
  measured: number | null;
}

/** What switching these regions should do: off takes their weight away, on gives it back. */
export function promise(evidence: Evidence, changed: readonly number[], isOff: (r: number) => boolean): number {
  return changed.reduce((sum, r) => sum + (isOff(r) ? -1 : 1) * evidence.value(r), 0) * 100;
}

/** Errors of different regions are taken as independent. */
export function bandOf(evidence: Evidence, regions: readonly number[]): number {
  return Math.sqrt(regions.reduce((sum, r) => sum + evidence.band(r) ** 2, 0)) * 100;
}

export type Outcome = "kept" | "opposite" | "larger" | "smaller";

/** Smaller than this many points counts as no difference. */
const NOISE = 0.3;

export function outcome(test: Test): Outcome | null {
  if (test.measured === null) return null;
  if (Math.abs(test.measured - test.predicted) <= Math.max(test.band, NOISE)) return "kept";
  if (Math.sign(test.measured) !== Math.sign(test.predicted)) return "opposite";
  return Math.abs(test.measured) > Math.abs(test.predicted) ? "larger" : "smaller";
}

/** Running score over the answered tests: how often the direction was right, and the mean miss. */
export function score(tests: readonly Test[]): { right: number; of: number; miss: number } {
  const done = tests.filter((t) => t.measured !== null);
  const right = done.filter((t) => {
    const measured = t.measured as number;
    return Math.abs(measured) < 0.05 || Math.sign(measured) === Math.sign(t.predicted);
  }).length;
  const misses = done.reduce((sum, t) => sum + Math.abs((t.measured as number) - t.predicted), 0);
  return { right, of: done.length, miss: done.length ? misses / done.length : 0 };
}
