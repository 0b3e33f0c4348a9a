/** The map in one or two sentences: where the evidence lies, how concentrated it is, how much is unclear. */
import * as words from "../words.ts";
import type { Evidence } from "./evidence.ts";
import { wholePercent } from "./format.ts";
import { type Place, placeWord } from "./geometry.ts";

const TOP = 4;

export function summarise(
  evidence: Evidence,
  name: string,
  places: readonly Place[],
  width: number,
  height: number,
): string {
  if (evidence.heat.kind === "none") return words.summary.drawn(evidence.heat.label);
  if (evidence.empty) return words.summary.none(name);
  const where = (regions: number[]): string =>
    [...new Set(regions.map((r) => placeWord(places[r] as Place, width, height)))].slice(0, 3).join(", ");
  const { order, heat } = evidence;
  if (heat.kind === "pixels" && !evidence.signed) {
    const coarse = heat.width * 4 <= width ? ` ${words.summary.cells(heat.width, heat.height)}` : "";
    return words.summary.strongest(name, where(order.slice(0, 3))) + coarse;
  }
  const sure = order.filter((r) => !evidence.unclear(r));
  const positive = sure.filter((r) => evidence.value(r) > 0);
  const negative = sure.find((r) => evidence.value(r) < 0);
  const unclear = order.length - sure.length;
  const parts: string[] = [];
  if (positive.length) {
    const sum = (regions: number[]): number => regions.reduce((n, r) => n + evidence.value(r), 0);
    const top = positive.slice(0, TOP);
    parts.push(words.summary.most(name, where(top), top.length, wholePercent(sum(top) / sum(positive))));
  } else parts.push(words.summary.onlyAgainst(name));
  if (negative !== undefined) parts.push(words.summary.against(where([negative])));
  if (unclear) parts.push(words.summary.unclear(unclear, order.length));
  return parts.join(" ");
}
