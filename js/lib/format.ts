/** Numbers as people read them: a true minus, a thin space before the per cent sign, no trailing noise. */

const MINUS = "\u2212";
const THIN = "\u202f";

export const clamp = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, x));

/** With more digits after the point a number is written as 1.2e−7. */
const MANY = 5;

/** +1.3, −0.4, 0.0. */
export const signed = (x: number, digits = 1): string => {
  const text = plain(Math.abs(x), digits);
  if (x === 0 || Number(text) === 0) return text;
  return (x < 0 ? MINUS : "+") + text;
};

/** 38.3 %, and two digits where one would say too little. */
export const percent = (p: number, digits = Math.abs(p) < 0.01 ? 2 : 1): string => `${plain(p * 100, digits)}${THIN}%`;

export const wholePercent = (p: number): string => `${Math.round(p * 100)}${THIN}%`;

export const plain = (x: number, digits: number): string =>
  (digits > MANY && x ? x.toExponential(1) : x.toFixed(Math.min(digits, MANY))).replace("-", MINUS);

/** Digits after the point with which `largest` shows two or three significant ones. */
export const digitsFor = (largest: number): number =>
  largest > 0 ? clamp(Math.ceil(-Math.log10(largest)) + 1, 1, 40) : 1;
