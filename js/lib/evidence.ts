/** What a map says, made ready to be drawn, listed and put into words. */
import type { Heat, Sign } from "../protocol.ts";
import { float32 } from "./bytes.ts";
import { clamp, digitsFor, plain, signed } from "./format.ts";

/** Standard errors to each side of a 95 % band. */
const BAND = 1.96;

/** This share of the pixels lies within the colour bar where the rest would stretch it to twice that or more. */
const WITHIN = 0.995;

/** Where the colours end: at the largest size, or earlier where a few pixels would leave all others without colour. */
function reach(field: Float32Array, largest: number): number {
  const sizes = sample(field);
  const usual = sizes[Math.floor((1 - WITHIN) * sizes.length)] ?? largest;
  return usual > 0 && largest > 2 * usual ? usual : largest;
}

/** Sizes of up to some twenty thousand values, largest first. */
function sample(values: Float32Array): Float32Array {
  const stride = Math.max(1, Math.floor(values.length / 20_000));
  const sizes = Float32Array.from({ length: Math.ceil(values.length / stride) }, (_, i) =>
    Math.abs(values[i * stride] as number),
  );
  return sizes.sort().reverse();
}

export class Evidence {
  readonly values: Float32Array;
  readonly errors: Float32Array | null;
  readonly field: Float32Array | null;
  /** Ends of the colour bar: −m … m around zero for signed maps. */
  readonly low: number;
  readonly high: number;
  /** Whether a few pixels lie beyond the ends, in the colour of the end. */
  readonly clipped: boolean;
  /** Regions from strongest to weakest, and each one's rank from 1. */
  readonly order: number[];
  readonly rank: number[];
  /** Probabilities are shown in points, a hundredth each. */
  readonly factor: number;
  /** Of numbers on the bar, and of the regions', which for a map of pixels are means and much smaller. */
  readonly #digits: number;
  readonly #regionDigits: number;

  constructor(readonly heat: Heat) {
    this.values = float32(heat.regions);
    const errors = float32(heat.errors);
    this.errors = errors.length ? errors : null;
    this.field = heat.kind === "pixels" ? float32(heat.pixels) : null;
    let low = 0;
    let high = 0;
    for (const v of this.field ?? this.values) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
    const largest = Math.max(-low, high);
    const most = this.field ? reach(this.field, largest) : largest;
    this.clipped = most < largest;
    this.low = heat.signed ? -most : Math.max(low, -most);
    this.high = heat.signed ? most : Math.min(high, most);
    this.order = Array.from(this.values.keys()).sort(
      (a, b) => Math.abs(this.values[b] as number) - Math.abs(this.values[a] as number),
    );
    this.rank = [];
    this.order.forEach((r, i) => {
      this.rank[r] = i + 1;
    });
    this.factor = heat.unit === "probability" ? 100 : 1;
    this.#digits = digitsFor(most * this.factor);
    this.#regionDigits = digitsFor(Math.abs(this.value(this.order[0] ?? 0)) * this.factor);
  }

  get signed(): boolean {
    return this.heat.signed;
  }

  /** Nothing anywhere: every view stays neutral and says so. */
  get empty(): boolean {
    return this.high === 0 && this.low === 0;
  }

  value(r: number): number {
    return this.values[r] ?? 0;
  }

  /** Half the 95 % band of a region, 0 where the method knows no errors. */
  band(r: number): number {
    return this.errors ? BAND * (this.errors[r] as number) : 0;
  }

  /** Whether the band includes zero, so that the sign is not known. */
  unclear(r: number): boolean {
    return this.errors !== null && Math.abs(this.value(r)) < this.band(r);
  }

  /** −1 … 1 around zero, or 0 … 1; the colours end at a `share` of the bar. */
  level(v: number, share = 1): number {
    const span = (this.signed ? this.high : this.high - this.low) * share;
    if (this.signed) return span > 0 ? clamp(v / span, -1, 1) : 0;
    return span > 0 ? clamp((v - this.low) / span, 0, 1) : 0;
  }

  /** A place on the bar as text, in points or raw. */
  text(v: number): string {
    return this.#text(v, this.#digits);
  }

  /** A region's value as text. */
  textOf(r: number): string {
    return this.heat.kind === "none" ? "–" : this.#text(this.value(r), this.#regionDigits);
  }

  bandText(r: number): string {
    return plain(this.band(r) * this.factor, this.#regionDigits);
  }

  #text(v: number, digits: number): string {
    return (this.signed ? signed : plain)(v * this.factor, digits);
  }

  /** The smallest size that belongs to the strongest `share`, 0 … 1; below it nothing is shown. */
  cut(share: number): number {
    if (share >= 1) return -1;
    const sizes = sample(this.field ?? this.values);
    return sizes[Math.max(0, Math.ceil(sizes.length * share) - 1)] ?? -1;
  }

  /** Whether a value passes the filters of the reader. */
  shown(v: number, cut: number, sign: Sign): boolean {
    if (Math.abs(v) < cut) return false;
    if (!this.signed || sign === "both" || sign === "size") return true;
    return sign === "for" ? v > 0 : v < 0;
  }
}
