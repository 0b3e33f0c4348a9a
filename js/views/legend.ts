/** The colour bar with real numbers, and the map in a sentence. */

import { css } from "../lib/color.ts";
import { context, div, el, span, write } from "../lib/dom.ts";
import type { Evidence } from "../lib/evidence.ts";
import { clamp } from "../lib/format.ts";
import { summarise } from "../lib/summary.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";

const HEIGHT = 12;
/** Least share of the bar that colours may be drawn to. */
const LEAST = 0.05;

export function legend(store: Store): { nodes: HTMLElement[] } {
  const canvas = el("canvas");
  const mark = el("span", { class: "mark", hidden: true });
  const end = reach(store, canvas);
  const ramp = div("ramp", canvas, mark, end.node);
  const ticks = div("ticks");
  const left = el("span");
  const unit = span("u");
  const right = el("span");
  const box = div("cbar", ramp, ticks, div("ends", left, unit, right));
  const sentence = el("p", { class: "sum" });
  const extra = el("p", { class: "sum warnline" });

  /** Where a value stands along the bar, 0 … 1. */
  const position = (e: Evidence, v: number): number =>
    e.signed ? clamp((v / (e.high || 1) + 1) / 2, 0, 1) : clamp((v - e.low) / (e.high - e.low || 1), 0, 1);

  const drawRamp = (e: Evidence): void => {
    const width = Math.max(2, Math.round((canvas.clientWidth || 300) * devicePixelRatio));
    canvas.width = width;
    canvas.height = HEIGHT * devicePixelRatio;
    const g = context(canvas);
    const { ramp: colours, ui } = store;
    const cut = e.cut(store.host.get("threshold"));
    const sign = store.host.get("sign");
    const opacity = ui.view === "heat" ? Math.max(0.35, store.host.get("opacity")) : 1;
    g.fillStyle = "#8f8f8f";
    g.fillRect(0, 0, width, canvas.height);
    for (let x = 0; x < width; x++) {
      const share = (x + 0.5) / width;
      const v = e.signed ? (2 * share - 1) * e.high : e.low + share * (e.high - e.low);
      if (!e.shown(v, cut, sign)) continue;
      const level = store.level(v);
      const t = sign === "size" ? Math.abs(level) : level;
      g.fillStyle = css(colours.color(t), colours.alpha(t) * opacity);
      g.fillRect(x, 0, 1, canvas.height);
    }
  };

  const paint = (): void => {
    const e = store.evidence;
    box.hidden = !e || e.empty;
    if (!e || e.empty) return;
    drawRamp(e);
    end.paint(e);
    const shares = e.signed ? [0, 0.25, 0.5, 0.75, 1] : [0, 0.5, 1];
    ticks.replaceChildren(
      ...shares.map((s) => {
        const v = e.signed ? (2 * s - 1) * e.high : e.low + s * (e.high - e.low);
        return el(
          "span",
          { class: s === 0 ? "a" : s === 1 ? "z" : "", style: `left:${s * 100}%` },
          v === 0 ? "0" : e.clipped && (s === 1 || (e.signed && s === 0)) ? words.beyond(e.text(v), v) : e.text(v),
        );
      }),
    );
    const name = store.mapName;
    left.textContent = e.signed ? words.speaksAgainst(name) : words.weak;
    right.textContent = e.signed ? words.speaksFor(name) : words.strong;
    unit.textContent = words.scale[e.heat.unit];
  };
  store.on(["heat", "looks", "opacity", "picture"], paint);
  store.on(["point", "heat"], () => {
    const e = store.evidence;
    const r = store.ui.hover;
    mark.hidden = !e || r < 0;
    if (e && r >= 0) mark.style.left = `${position(e, e.value(r)) * 100}%`;
  });
  store.on(["heat", "picture", "status"], () => {
    const e = store.evidence;
    const { places, width, height } = store.regions;
    write(sentence, e && places.length ? summarise(e, store.mapName, places, width, height) : "");
    // While it is found, the picture says so; afterwards nothing lies over the picture.
    const meantime = store.host.get("status") === "running" ? "" : store.preview;
    const still = e?.heat.preview ? meantime : e && store.stale ? words.still(store.mapName, e.heat.label) : "";
    write(extra, `${still} ${e?.heat.note ?? ""}`.trim());
    extra.hidden = !extra.textContent;
  });
  const observer = new ResizeObserver(() => store.touch("looks"));
  observer.observe(ramp);
  store.signal.addEventListener("abort", () => observer.disconnect());
  return { nodes: [box, sentence, extra] };
}

/** The place on the bar where the colours end, to be moved by pointer or keys. */
function reach(store: Store, bar: HTMLElement): { node: HTMLElement; paint(e: Evidence): void } {
  const { ui, signal } = store;
  const node = el("span", {
    class: "reach",
    role: "slider",
    tabIndex: 0,
    "aria-label": words.reach,
    title: words.reachHow,
  });
  const put = (share: number): void => {
    ui.reach = clamp(share, LEAST, 1);
    store.touch("looks", "list");
  };
  const on = <K extends keyof HTMLElementEventMap>(name: K, act: (event: HTMLElementEventMap[K]) => void): void =>
    node.addEventListener(name, act, { signal });
  on("pointerdown", (event) => node.setPointerCapture(event.pointerId));
  on("pointermove", (event) => {
    if (!node.hasPointerCapture(event.pointerId)) return;
    const box = bar.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width;
    put(store.evidence?.signed ? 2 * at - 1 : at);
  });
  on("dblclick", () => put(1));
  on("keydown", (event) => {
    const way = { ArrowRight: 0.05, ArrowUp: 0.05, ArrowLeft: -0.05, ArrowDown: -0.05, Home: -1, End: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    put(ui.reach + way);
  });
  return {
    node,
    paint(e) {
      node.style.left = `${(e.signed ? (1 + ui.reach) / 2 : ui.reach) * 100}%`;
      node.setAttribute("aria-valuemin", String(100 * LEAST));
      node.setAttribute("aria-valuemax", "100");
      node.setAttribute("aria-valuenow", String(Math.round(100 * ui.reach)));
      const value = e.signed ? ui.reach * e.high : e.low + ui.reach * (e.high - e.low);
      node.setAttribute("aria-valuetext", `${e.text(value)} ${words.scale[e.heat.unit]}`);
    },
  };
}
