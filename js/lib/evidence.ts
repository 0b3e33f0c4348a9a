/** What a map says, made ready to be drawn, listed and put into words. */
import type { Heat, Sign } from "../protocol.ts";
import { float32 } from "./bytes.ts";
import { clamp, digitsFor, plain, signed } from "./format.ts";

/** Standard errors to each side of a 95 % band. */
const BAND = 1.96;

export class Evidence {
  readonly values: Float32Array;
  readonly errors: Float32Array | null;
  readonly field: Float32Array | null;
  /** Ends of the colour bar: −m … m around zero for signed maps. */
  readonly low: number;
  readonly high: number;
  /** Regions from strongest to weakest, and each one's rank from 1. */
  readonly order: number[];
  readonly rank: number[];
  /** Probabilities are shown in points, a hundredth each. */
  readonly factor: number;
  readonly digits: number;

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
    const most = Math.max(-low, high);
    this.low = heat.signed ? -most : low;
    this.high = heat.signed ? most : high;
    this.order = Array.from(this.values.keys()).sort(
      (a, b) => Math.abs(this.values[b] as number) - Math.abs(this.values[a] as number),
    );
    this.rank = [];
    this.order.forEach((r, i) => {
      this.rank[r] = i + 1;
    });
    this.factor = heat.unit === "probability" ? 100 : 1;
    this.digits = digitsFor(most * this.factor);
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

  /** −1 … 1 around zero, or 0 … 1. */
  level(v: number): number {
    if (this.signed) return this.high > 0 ? clamp(v / this.high, -1, 1) : 0;
    return this.high > this.low ? clamp((v - this.low) / (this.high - this.low), 0, 1) : 0;
  }

  /** A value as text, in points or raw. */
  text(v: number): string {
    if (this.heat.kind === "none") return "–";
    return this.signed ? signed(v * this.factor, this.digits) : plain(v * this.factor, this.digits);
  }

  bandText(r: number): string {
    return plain(this.band(r) * this.factor, this.digits);
  }

  /** The smallest size that belongs to the strongest `share`, 0 … 1; below it nothing is shown. */
  cut(share: number): number {
    if (share >= 1) return -1;
    const source = this.field ?? this.values;
    const stride = Math.max(1, Math.floor(source.length / 20_000));
    const sizes: number[] = [];
    for (let i = 0; i < source.length; i += stride) sizes.push(Math.abs(source[i] as number));
    sizes.sort((a, b) => b - a);
    return sizes[Math.max(0, Math.ceil(sizes.length * share) - 1)] ?? -1;
  }

  /** Whether a value passes the filters of the reader. */
  shown(v: number, cut: number, sign: Sign): boolean {
    if (Math.abs(v) < cut) return false;
    if (!this.signed || sign === "both" || sign === "size") return true;
    return sign === "for" ? v > 0 : v < 0;
  }
}
