/** Enlarging maps and label maps to the grid they are painted on. */
import { clamp } from "./format.ts";

/** Bilinear enlargement with pixel centres aligned, as torch and OpenCV do it (align_corners=False). */
export function enlarge(
  field: Float32Array,
  width: number,
  height: number,
  outWidth: number,
  outHeight: number,
): Float32Array {
  if (width === outWidth && height === outHeight) return field;
  const out = new Float32Array(outWidth * outHeight);
  const columns = axis(width, outWidth);
  const rows = axis(height, outHeight);
  for (let y = 0; y < outHeight; y++) {
    const [a, b, fy] = rows[y] as Step;
    for (let x = 0; x < outWidth; x++) {
      const [c, d, fx] = columns[x] as Step;
      const upper = (field[a * width + c] as number) * (1 - fx) + (field[a * width + d] as number) * fx;
      const lower = (field[b * width + c] as number) * (1 - fx) + (field[b * width + d] as number) * fx;
      out[y * outWidth + x] = upper * (1 - fy) + lower * fy;
    }
  }
  return out;
}

type Step = [from: number, to: number, share: number];

function axis(length: number, out: number): Step[] {
  return Array.from({ length: out }, (_, i) => {
    const at = clamp(((i + 0.5) / out) * length - 0.5, 0, length - 1);
    const from = Math.floor(at);
    return [from, Math.min(from + 1, length - 1), at - from];
  });
}

/** A label map k times as fine: each fine pixel takes the label with the largest bilinear vote around it. */
export function refine(labels: Uint16Array, width: number, height: number, k: number): Uint16Array {
  if (k === 1) return labels;
  const w = width * k;
  const h = height * k;
  const out = new Uint16Array(w * h);
  const columns = axis(width, w);
  const rows = axis(height, h);
  for (let y = 0; y < h; y++) {
    const [ya, yb, fy] = rows[y] as Step;
    for (let x = 0; x < w; x++) {
      const [xa, xb, fx] = columns[x] as Step;
      const a = labels[ya * width + xa] as number;
      const b = labels[ya * width + xb] as number;
      const c = labels[yb * width + xa] as number;
      const d = labels[yb * width + xb] as number;
      let best = a;
      if (a !== b || a !== c || a !== d) {
        const votes: [number, number][] = [
          [a, (1 - fx) * (1 - fy)],
          [b, fx * (1 - fy)],
          [c, (1 - fx) * fy],
          [d, fx * fy],
        ];
        let most = -1;
        for (const [label] of votes) {
          const sum = votes.reduce((n, [other, weight]) => (other === label ? n + weight : n), 0);
          if (sum > most) {
            most = sum;
            best = label;
          }
        }
      }
      out[y * w + x] = best;
    }
  }
  return out;
}
