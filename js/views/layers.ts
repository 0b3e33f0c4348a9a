/** The layers of the picture: photos, heat and outlines, each repainted only when it changed. */
import { blob } from "../lib/bytes.ts";
import { pack } from "../lib/color.ts";
import { context, layer } from "../lib/dom.ts";
import { enlarge, refine } from "../lib/field.ts";
import { around, type Place, rings } from "../lib/geometry.ts";
import type { Store } from "../store.ts";

/** Canvas pixels that overlays have at most along the longer side. */
const FINE = 896;
/** Pictures up to this size are shown pixel by pixel, so their overlays stay on the pixel grid. */
const TINY = 64;
const LEVELS = 512;

export class Layers {
  photo: HTMLCanvasElement | null = null;
  /** The picture with every region off: exactly the pixels that the model gets instead. */
  off: HTMLCanvasElement | null = null;
  /** The photo as it lies under the heat: nearly grey, so that colour means evidence. */
  grey: HTMLCanvasElement | null = null;
  heat = layer(1, 1);
  /** Opaque where the map speaks for the class; cuts the holes of the view "evidence only". */
  evidence = layer(1, 1);
  width = 0;
  height = 0;
  readonly #paths = new Map<string, Path2D>();
  #fine: Uint16Array = new Uint16Array(0);
  #k = 1;
  #picture: unknown = null;
  #labels: unknown = null;

  constructor(readonly store: Store) {}

  get tiny(): boolean {
    return Math.max(this.width, this.height) <= TINY;
  }

  get ready(): boolean {
    return this.photo !== null;
  }

  /**
   * Decode the photos; resolves to whether there is something new to draw. Until then, and for as long as picture and
   * regions do not fit each other, there is nothing to draw: the last picture is gone at once.
   */
  async decode(): Promise<boolean> {
    const { data, off: offData, mime = "image/png", width = 0, height = 0 } = this.store.host.get("picture");
    const { labels } = this.store.regions;
    if (this.#picture === data && this.#labels === labels) return false;
    this.#picture = data;
    this.#labels = labels;
    this.photo = null;
    if (!data || !offData || labels.length !== width * height) return false;
    const [photo, off] = await Promise.all([
      createImageBitmap(blob(data, mime)),
      createImageBitmap(blob(offData, mime)),
    ]);
    if (this.store.signal.aborted || this.#picture !== data || this.#labels !== labels) return false;
    this.width = width;
    this.height = height;
    this.photo = this.#keep(photo);
    this.off = this.#keep(off);
    this.grey = this.#greyed(this.photo);
    this.#k = this.tiny ? 1 : Math.max(1, Math.min(4, Math.floor(FINE / Math.max(this.width, this.height))));
    this.#fine = refine(labels, width, height, this.#k);
    this.#paths.clear();
    return true;
  }

  /** Outline of a set of regions, kept for as long as the picture is. */
  path(regions: readonly number[]): Path2D {
    const key = regions.join();
    const known = this.#paths.get(key);
    if (known) return known;
    const { labels } = this.store.regions;
    const wanted = new Uint8Array(this.store.regions.count);
    for (const r of regions) wanted[r] = 1;
    const bounds = around(regions.map((r) => this.store.regions.places[r] as Place));
    const path = new Path2D();
    for (const ring of rings((i) => wanted[labels[i] as number], this.width, this.height, bounds)) {
      ring.forEach(([x, y], i) => {
        if (i) path.lineTo(x, y);
        else path.moveTo(x, y);
      });
      path.closePath();
    }
    // Sets come and go with every click; single regions stay.
    if (this.#paths.size > this.store.regions.count + 64) {
      for (const old of [...this.#paths.keys()].filter((k) => k.includes(","))) this.#paths.delete(old);
    }
    this.#paths.set(key, path);
    return path;
  }

  paintHeat(): void {
    const { store } = this;
    const e = store.evidence;
    if (!e || e.empty) return;
    const { ui, ramp } = store;
    const cut = e.cut(store.host.get("threshold"));
    const sign = store.host.get("sign");
    if (ui.view === "evidence") {
      this.#paintValues(this.evidence, (v) =>
        v > 0 && e.shown(v, cut, sign) ? white(e.signed ? 1 : store.level(v)) : 0,
      );
    } else {
      this.#paintValues(this.heat, (v) => {
        if (!e.shown(v, cut, sign)) return 0;
        const level = store.level(v);
        const t = sign === "size" ? Math.abs(level) : level;
        return pack(ramp.color(t), ramp.alpha(t));
      });
    }
  }

  /** Colour a layer by the map's values; regions that are hidden stay clear. */
  #paintValues(canvas: HTMLCanvasElement, colour: (v: number) => number): void {
    const { store } = this;
    const e = store.evidence;
    const { count } = store.regions;
    if (!e || !this.ready) return;
    const k = this.#k;
    // What is off is painted over.
    const hidden = (r: number): boolean => store.ui.hideUnclear && e.unclear(r);
    this.#fill(canvas, (out) => {
      if (!e.field) {
        const table = Uint32Array.from({ length: count }, (_, r) => (hidden(r) ? 0 : colour(e.value(r))));
        for (let i = 0; i < out.length; i++) out[i] = table[this.#fine[i] as number] as number;
        return;
      }
      const field = enlarge(e.field, e.heat.width, e.heat.height, this.width * k, this.height * k);
      const scale = LEVELS / (e.high - e.low || 1);
      const table = Uint32Array.from({ length: LEVELS + 1 }, (_, i) => colour(e.low + i / scale));
      const off = Uint8Array.from({ length: count }, (_, r) => Number(hidden(r)));
      for (let i = 0; i < out.length; i++) {
        if (off[this.#fine[i] as number]) continue;
        out[i] = table[Math.round(((field[i] as number) - e.low) * scale)] as number;
      }
    });
  }

  #fill(canvas: HTMLCanvasElement, paint: (out: Uint32Array) => void): void {
    canvas.width = this.width * this.#k;
    canvas.height = this.height * this.#k;
    const g = context(canvas);
    const image = g.createImageData(canvas.width, canvas.height);
    paint(new Uint32Array(image.data.buffer));
    g.putImageData(image, 0, 0);
  }

  #keep(bitmap: ImageBitmap): HTMLCanvasElement {
    const canvas = layer(this.width, this.height);
    context(canvas).drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return canvas;
  }

  #greyed(photo: HTMLCanvasElement): HTMLCanvasElement {
    const canvas = layer(photo.width, photo.height);
    const g = context(canvas);
    g.drawImage(photo, 0, 0);
    const image = g.getImageData(0, 0, canvas.width, canvas.height);
    const d = image.data;
    for (let i = 0; i < d.length; i += 4) {
      const luma = 0.2126 * (d[i] as number) + 0.7152 * (d[i + 1] as number) + 0.0722 * (d[i + 2] as number);
      for (let j = 0; j < 3; j++) d[i + j] = (d[i + j] as number) * 0.15 + (luma * 0.94 + 8) * 0.85;
    }
    g.putImageData(image, 0, 0);
    return canvas;
  }
}

const white = (alpha: number): number => pack([255, 255, 255], alpha);
