/**
 * The colours of evidence. Two-sided maps have ends of one lightness, and their opacity is solved so that the distance
 * seen from a mid-grey photo grows in proportion to the value. One-sided maps are Viridis and Cividis.
 */
import type { Colormap } from "../protocol.ts";
import { clamp } from "./format.ts";

export type Rgb = readonly [number, number, number];

const linear = (c: number): number => {
  const x = c / 255;
  return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
};
const gamma = (c: number): number => 255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055);

/** OKLCh → sRGB (Ottosson 2020); chroma is reduced until the colour exists. */
export function oklch(lightness: number, chroma: number, hue: number): Rgb {
  for (let c = chroma; ; c *= 0.96) {
    const a = c * Math.cos((hue * Math.PI) / 180);
    const b = c * Math.sin((hue * Math.PI) / 180);
    const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
    const rgb = [
      4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
      -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
      -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
    ];
    if (c < 0.001 || rgb.every((v) => v >= -0.001 && v <= 1.001)) {
      return rgb.map((v) => Math.round(clamp(gamma(clamp(v, 0, 1)), 0, 255))) as unknown as Rgb;
    }
  }
}

/** sRGB → OKLab, in which distances are those the eye sees. */
export function oklab(color: Rgb): [number, number, number] {
  const [r, g, b] = color.map(linear) as [number, number, number];
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

export interface Ramp {
  name: string;
  signed: boolean;
  /** Colour of a level, −1 … 1 or 0 … 1. */
  color(level: number): Rgb;
  /** Opacity of a level, 0 … 1, before the slider. */
  alpha(level: number): number;
}

const STEPS = 64;
const GROUND: Rgb = [128, 128, 128];

/** Opacity at each of 65 levels such that the distance from the ground, at the slider's 80 %, is proportional. */
function solveAlpha(color: (level: number) => Rgb, side: 1 | -1): number[] {
  const ground = oklab(GROUND);
  const distance = (level: number, alpha: number): number => {
    const mixed = color(level).map((c, i) => c * alpha * 0.8 + (GROUND[i] as number) * (1 - alpha * 0.8));
    return Math.hypot(...oklab(mixed as unknown as Rgb).map((v, i) => v - (ground[i] as number)));
  };
  const end = distance(side, 1);
  return Array.from({ length: STEPS + 1 }, (_, i) => {
    let low = 0;
    let high = 1;
    for (let k = 0; k < 18; k++) {
      const middle = (low + high) / 2;
      if (distance((side * i) / STEPS, middle) < (end * i) / STEPS) low = middle;
      else high = middle;
    }
    return low;
  });
}

function twoSided(name: string, hueFor: number, hueAgainst: number): Ramp {
  const color = (t: number): Rgb =>
    oklch(0.72 - 0.155 * Math.abs(t), 0.12 + 0.1 * Math.abs(t), t > 0 ? hueFor : hueAgainst);
  const sides = { for: solveAlpha(color, 1), against: solveAlpha(color, -1) };
  const alpha = (t: number): number => {
    const table = t < 0 ? sides.against : sides.for;
    const at = Math.min(1, Math.abs(t)) * STEPS;
    const i = Math.min(Math.floor(at), STEPS - 1);
    const from = table[i] as number;
    return from + ((table[i + 1] as number) - from) * (at - i);
  };
  return { name, signed: true, color, alpha };
}

function oneSided(name: string, ...stops: string[]): Ramp {
  const rgb = stops.map((h) => [0, 2, 4].map((i) => Number.parseInt(h.slice(i, i + 2), 16)));
  const color = (t: number): Rgb => {
    const at = clamp(t, 0, 1) * (rgb.length - 1);
    const i = Math.min(Math.floor(at), rgb.length - 2);
    const [from, to] = [rgb[i] as number[], rgb[i + 1] as number[]];
    return from.map((v, j) => Math.round(v + ((to[j] as number) - v) * (at - i))) as unknown as Rgb;
  };
  return { name, signed: false, color, alpha: (t) => 0.06 + 0.9 * t };
}

const VIRIDIS = ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"];
const CIVIDIS = ["00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "e1cc55", "fee838"];

/** All ramps; made once a widget, because solving the opacity takes a few milliseconds. */
export function makeRamps(): Record<Exclude<Colormap, "auto">, Ramp> {
  return {
    "vermilion-blue": twoSided("Vermilion and blue", 36, 257),
    "purple-green": twoSided("Purple and green", 315, 150),
    viridis: oneSided("Viridis", ...VIRIDIS),
    cividis: oneSided("Cividis", ...CIVIDIS),
  };
}

export type Ramps = ReturnType<typeof makeRamps>;

/** The chosen ramp, or the default where the choice does not fit the map's sign. */
export function rampFor(ramps: Ramps, chosen: Colormap, isSigned: boolean): Ramp {
  if (chosen !== "auto" && ramps[chosen].signed === isSigned) return ramps[chosen];
  return isSigned ? ramps["vermilion-blue"] : ramps.viridis;
}

export const css = (c: Rgb, alpha = 1): string => `rgba(${c[0]},${c[1]},${c[2]},${alpha})`;

/** Little-endian ABGR, as a Uint32 view of canvas pixels wants it. */
export const pack = (c: Rgb, alpha: number): number =>
  ((Math.round(255 * alpha) << 24) | (c[2] << 16) | (c[1] << 8) | c[0]) >>> 0;
