/** The picture: photo, heat, regions, marks, drawn at the screen's own resolution. */
import { context, el, icon, layer, write } from "../lib/dom.ts";
import type { Verdict } from "../protocol.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import { Layers } from "./layers.ts";
import { pointer } from "./pointer.ts";
import { tooltip } from "./tooltip.ts";
import { type Zoom, zoom } from "./zoom.ts";

const MAX_HEIGHT = 640;
/** Height that the rest takes on a full screen. */
const AROUND = 260;
/** Screen pixels from which a pixel of an enlarged picture is shown as the square that it is. */
const SQUARE = 8;
/** Hues of judgement are none of the heat's. */
const MARK: Record<Verdict, string> = { mattered: "#00a37a", must_not_matter: "#d6008f", unsure: "#8a8a8a" };

export function picture(
  store: Store,
  root: HTMLElement,
  uid: string,
): { nodes: HTMLElement[]; layers: Layers; zoom: Zoom } {
  const layers = new Layers(store);
  const canvas = el("canvas");
  const badge = el("div", { class: "badge", hidden: true });
  const waiting = el("div", { class: "hint", role: "status" });
  const stage = el(
    "div",
    {
      class: "stage",
      tabIndex: 0,
      role: "application",
      "aria-label": words.picture,
      "aria-describedby": `${uid}-keys`,
      "data-testid": "xw-canvas",
    },
    canvas,
    badge,
    waiting,
  );
  const keys = el("span", { class: "vh", id: `${uid}-keys` }, words.pictureKeys);
  const hatch = layer(8, 8);
  /** Photo and heat as they lie under everything else; painted anew only when they look otherwise. */
  const base = layer(1, 1);
  let stale = true;

  const draw = (): void => {
    const { photo, grey } = layers;
    const cssWidth = stage.clientWidth;
    root.dataset.ready = "";
    canvas.hidden = !photo;
    if (!photo || !grey || !cssWidth) return;
    const ratio = devicePixelRatio || 1;
    const width = Math.round(cssWidth * ratio);
    const height = Math.round(stage.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const g = context(canvas);
    const scale = width / layers.width;
    const { ui } = store;
    const view = ui.peek ? "photo" : ui.view;
    const { k, x, y } = ui.part;
    const smooth = !(layers.tiny && scale >= 6) && (k === 1 || scale * k < SQUARE * ratio);
    // Pictures and outlines lie in the part that is on show; lines and stripes stay in screen pixels.
    const spread = (image: CanvasImageSource, to = g): void => {
      to.imageSmoothingEnabled = smooth;
      to.imageSmoothingQuality = "high";
      to.drawImage(image, -x * k * width, -y * k * height, k * width, k * height);
    };
    const inPicture = (): void => {
      g.translate(-x * k * width, -y * k * height);
      g.scale((k * width) / layers.width, (k * height) / layers.height);
    };
    const line = (path: Path2D, size: number, colour: string, dash: number[] = []): void => {
      const pixel = ratio / (scale * k);
      g.save();
      inPicture();
      g.lineJoin = "round";
      g.lineWidth = size * pixel;
      g.strokeStyle = colour;
      g.setLineDash(dash.map((d) => d * pixel));
      g.stroke(path);
      g.restore();
    };
    const within = (path: Path2D, paint: () => void): void => {
      g.save();
      inPicture();
      g.clip(path, "evenodd");
      g.setTransform(1, 0, 0, 1, 0, 0);
      paint();
      g.restore();
    };
    const stripes = (pattern: CanvasPattern | null): void => {
      if (!pattern) return;
      g.fillStyle = pattern;
      g.fillRect(0, 0, width, height);
    };

    g.setTransform(1, 0, 0, 1, 0, 0);
    g.clearRect(0, 0, width, height);
    if (stale || base.width !== width || base.height !== height) {
      stale = false;
      Object.assign(base, { width, height });
      const below = context(base);
      const evidence = store.evidence;
      const heated = view === "heat" && evidence && !evidence.empty;
      if (view === "evidence" && evidence) {
        // Everything is covered but the places that speak for the class.
        spread(layers.evidence, below);
        below.globalCompositeOperation = "source-out";
        below.fillStyle = root.dataset.theme === "dark" ? "#2c2c2c" : "#dcdcdc";
        below.fillRect(0, 0, width, height);
        below.globalCompositeOperation = "destination-over";
      }
      spread(heated ? grey : photo, below);
      if (heated) {
        below.globalAlpha = store.host.get("opacity");
        spread(layers.heat, below);
      }
    }
    g.drawImage(base, 0, 0);
    const off = store.off;
    if (off.length) {
      const outline = layers.path(off);
      within(outline, () => {
        if (layers.off) spread(layers.off);
        stripes(hatching(hatch, g, ratio));
      });
      line(outline, 2.5, "rgba(0,0,0,.25)");
      line(outline, 1, "rgba(255,255,255,.8)");
    }
    if (ui.outlines) {
      const all = Array.from({ length: store.regions.count }, (_, r) => layers.path([r]));
      for (const path of all) line(path, 2, "rgba(0,0,0,.28)");
      for (const path of all) line(path, 1, "rgba(255,255,255,.85)");
    }
    const mark = (verdict: Verdict, regions: number[], solid: boolean): void => {
      const path = layers.path(regions);
      g.globalAlpha = verdict === "unsure" ? 0.16 : 0.24;
      within(path, () => {
        g.fillStyle = MARK[verdict];
        g.fillRect(0, 0, width, height);
        if (verdict === "must_not_matter") stripes(hatching(hatch, g, ratio));
      });
      g.globalAlpha = 1;
      line(path, 3.5, "rgba(255,255,255,.9)");
      line(path, 2, MARK[verdict], solid ? [] : [5, 4]);
    };
    if (view !== "photo" || ui.marking) {
      for (const [verdict, regions] of stored(store)) mark(verdict, regions, true);
      if (ui.marked.size) mark(ui.verdict ?? "mattered", store.marks, false);
    }
    const focused = stage.matches(":focus") ? ui.focus : -1;
    for (const r of new Set([ui.hover, focused])) {
      if (r < 0) continue;
      line(layers.path([r]), 4, "rgba(0,0,0,.55)");
      line(layers.path([r]), 2, "#fff");
    }
    root.dataset.ready = "1";
  };

  const size = (): void => {
    const { width = 1, height = 1 } = store.host.get("picture");
    stage.style.aspectRatio = `${width} / ${height}`;
    // A tall picture is narrowed rather than cut, so that its proportions stay.
    const most = (root.getRootNode() as Document).fullscreenElement === root ? innerHeight - AROUND : MAX_HEIGHT;
    stage.style.maxWidth = `${(Math.max(MAX_HEIGHT, most) * width) / height}px`;
  };
  store.on(["picture"], () => {
    size();
    void layers.decode().then((fresh) => {
      if (fresh) store.touch("heat", "answer", "looks");
    });
  });
  store.on(["heat", "looks"], () => layers.paintHeat());
  store.on(["heat", "looks", "opacity", "part", "picture"], () => {
    stale = true;
  });
  store.on(["heat", "looks", "opacity", "answer", "point", "part", "marks", "picture"], draw);
  store.on(["heat", "status"], () => {
    const running = store.host.get("status") === "running";
    const text = store.evidence ? store.preview : words.waiting;
    waiting.hidden = !running || !text;
    write(waiting, waiting.hidden ? "" : text);
    stage.setAttribute("aria-label", words.pictureWith(store.regions.count, store.mapName));
  });
  store.on(["marks"], () => {
    const { marking, verdict } = store.ui;
    badge.hidden = !marking;
    stage.classList.toggle("draw", marking);
    const done = el("button", { tabIndex: -1 }, words.done, " ", el("kbd", {}, "Esc"));
    done.onclick = () => {
      store.ui.marking = false;
      store.touch("marks");
    };
    badge.replaceChildren(icon("region"), el("span", {}, words.marking(verdict ?? "mattered")), done);
  });
  const observer = new ResizeObserver(draw);
  observer.observe(stage);
  store.signal.addEventListener("abort", () => observer.disconnect());
  root.addEventListener("fullscreenchange", size, { signal: store.signal });
  const closer = zoom(store, root, stage);
  pointer(store, stage, layers, tooltip(store, root));
  return { nodes: [stage, keys], layers, zoom: closer };
}

/** Diagonal lines in screen pixels, light and dark, so that they are seen on any photo. */
function hatching(tile: HTMLCanvasElement, g: CanvasRenderingContext2D, ratio: number): CanvasPattern | null {
  const side = Math.round(7 * ratio);
  tile.width = side;
  tile.height = side;
  const t = context(tile);
  t.lineWidth = ratio;
  for (const [colour, shift] of [
    ["rgba(255,255,255,.38)", 0],
    ["rgba(0,0,0,.24)", ratio],
  ] as const) {
    t.strokeStyle = colour;
    t.beginPath();
    for (const k of [-side, 0, side]) {
      t.moveTo(k + shift, side);
      t.lineTo(k + side + shift, 0);
    }
    t.stroke();
  }
  return g.createPattern(tile, "repeat");
}

/** The newest stored verdict of each region, gathered by verdict. */
export function stored(store: Store): Map<Verdict, number[]> {
  const newest = new Map<number, Verdict>();
  for (const { verdict, regions } of store.host.get("feedback")) {
    if (verdict) for (const r of regions) newest.set(r, verdict as Verdict);
  }
  const gathered = new Map<Verdict, number[]>();
  for (const [r, verdict] of [...newest].sort((a, b) => a[0] - b[0])) {
    if (r < store.regions.count) gathered.set(verdict, [...(gathered.get(verdict) ?? []), r]);
  }
  return gathered;
}
