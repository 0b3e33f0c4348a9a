/** The list twin of the picture: everything that can be done there by pointing can be done here by name. */

import { css } from "../lib/color.ts";
import { arrange, context, div, el, icon, layer, segmented, span, write } from "../lib/dom.ts";
import type { Evidence } from "../lib/evidence.ts";
import { clamp } from "../lib/format.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import type { Layers } from "./layers.ts";
import { sayRegion, toggleMark } from "./pointer.ts";

const THUMB = 52;

export function regions(store: Store, layers: Layers, uid: string): HTMLElement {
  const count = span("muted");
  const find = el("input", {
    class: "find",
    type: "text",
    inputMode: "numeric",
    placeholder: words.find,
    "aria-label": words.findLabel,
  });
  const list = el("div", {
    class: "list",
    role: "listbox",
    tabIndex: 0,
    "aria-multiselectable": "true",
    "aria-label": words.listLabel,
  });
  const button = (shape: "undo" | "redo" | "reset", label: string, key: string, act: () => void): HTMLButtonElement =>
    el("button", { class: "ib", "aria-label": label, title: `${label} (${key})`, onclick: act }, icon(shape));
  const undo = button("undo", words.undo, "Z", () => store.travel(-1));
  const redo = button("redo", words.redo, "Shift Z", () => store.travel(1));
  const reset = button("reset", words.allOn, "X", () => store.allOn());
  const counts = { all: el("small"), for: el("small"), against: el("small"), unclear: el("small"), off: el("small") };
  type Filter = keyof typeof counts;
  const filter = segmented<Filter>(
    words.filterLabel,
    `${uid}-filter`,
    (Object.keys(counts) as Filter[]).map((value) => ({ value, label: words.filters[value], count: counts[value] })),
    (value) => {
      store.ui.filter = value;
      store.touch("list");
    },
  );
  filter.node.classList.add("flt");
  const none = el("p", { class: "muted none" });
  let thumbs: HTMLImageElement[] = [];
  let rows: Row[] = [];
  let shown: number[] = [];
  let about = "";
  let over = false;

  const passes = (e: Evidence, r: number, which: Filter): boolean => {
    if (which === "all") return true;
    if (which === "off") return store.isOff(r);
    if (which === "unclear") return e.unclear(r);
    return !e.unclear(r) && (which === "for" ? e.value(r) > 0 : e.value(r) < 0);
  };

  const paintList = (): void => {
    const e = store.evidence;
    const history = store.host.get("history");
    const off = store.off.length;
    count.textContent = words.countOff(off, store.regions.count);
    undo.disabled = history.at <= 0;
    redo.disabled = history.at >= history.states.length - 1;
    reset.disabled = !off;
    if (!e) {
      shown = [];
      for (const node of Object.values(counts)) node.textContent = "";
      arrange(list, []);
      return;
    }
    for (const [which, node] of Object.entries(counts) as [Filter, HTMLElement][]) {
      write(node, which === "all" ? "" : String(e.order.filter((r) => passes(e, r, which)).length));
      const label = node.parentElement as HTMLElement;
      label.hidden = (which === "unclear" && !e.errors) || ((which === "for" || which === "against") && !e.signed);
      if (label.hidden && store.ui.filter === which) store.ui.filter = "all";
    }
    filter.set(store.ui.filter);
    const query = store.ui.find.trim();
    const passing = e.order.filter((r) => passes(e, r, store.ui.filter) && (!query || String(r).startsWith(query)));
    const now = `${e.heat.method} ${e.heat.target}`;
    // While a map is refined nothing moves away under the pointer.
    const held = over && now === about && passing.length === shown.length && passing.every((r) => shown.includes(r));
    if (!held) shown = passing;
    about = now;
    const top = list.scrollTop;
    const place = whereActive();
    const scale = axis(e);
    const nodes = shown.map((r) => {
      const one = rows[r] ?? row(store, r, thumbs[r], `${uid}-r${r}`);
      rows[r] = one;
      one.fill(e, scale);
      return one.node;
    });
    write(none, store.ui.filter === "off" ? words.noneOff : words.noMatch);
    arrange(list, nodes.length ? nodes : [none]);
    const moved = whereActive();
    list.scrollTop = top + (place !== null && moved !== null ? moved - place : 0);
    paintPoint();
  };

  /** How far down the active row is, where it is in sight: there it stays, whatever its rank becomes. */
  const whereActive = (): number | null => {
    const node = rows[store.ui.focus]?.node;
    if (!node?.isConnected) return null;
    const at = node.offsetTop;
    return at >= list.scrollTop - node.offsetHeight && at <= list.scrollTop + list.clientHeight ? at : null;
  };

  const paintPoint = (): void => {
    const { hover, focus } = store.ui;
    for (const node of list.querySelectorAll<HTMLElement>(".row")) {
      const r = Number(node.dataset.n);
      node.classList.toggle("hov", r === hover);
      node.classList.toggle("act", r === focus);
      node.setAttribute("aria-selected", String(r === focus));
    }
    list.setAttribute("aria-activedescendant", shown.includes(focus) ? `${uid}-r${focus}` : "");
  };

  const reveal = (): void => {
    const row = list.querySelector<HTMLElement>(".row.act");
    if (!row) return;
    // Scrolls the list alone; scrollIntoView would move the notebook, too.
    const { offsetTop: top, offsetHeight } = row;
    list.scrollTop = clamp(list.scrollTop, top + offsetHeight - list.clientHeight, top);
  };

  const act = (r: number): void => {
    if (store.ui.marking) toggleMark(store, r);
    else store.toggle(r);
  };
  const rowOf = (event: Event): number => {
    const node = (event.target as Element).closest<HTMLElement>(".row");
    return node ? Number(node.dataset.n) : -1;
  };
  list.addEventListener("pointermove", (event) => store.point(rowOf(event)));
  list.addEventListener("pointerenter", () => {
    over = true;
  });
  list.addEventListener("pointerleave", () => {
    over = false;
    store.point(-1);
    store.touch("list"); // what was held back
  });
  // Not "click": a press that ends on another row means neither.
  let pressed = -1;
  list.addEventListener("pointerdown", (event) => {
    pressed = event.button === 0 ? rowOf(event) : -1;
  });
  list.addEventListener("pointerup", (event) => {
    const r = rowOf(event);
    if (r < 0 || r !== pressed) return;
    store.focus(r);
    act(r);
  });
  list.addEventListener("keydown", (event) => {
    const at = shown.indexOf(store.ui.focus);
    const last = shown.length - 1;
    const to = { ArrowDown: Math.min(at + 1, last), ArrowUp: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
    if (to !== undefined && shown.length) {
      store.focus(shown[to] as number);
      sayRegion(store, shown[to] as number);
    } else if ((event.key === " " || event.key === "Enter") && at >= 0) act(store.ui.focus);
    else return;
    event.preventDefault();
  });
  find.addEventListener("input", () => {
    store.ui.find = find.value;
    store.touch("list");
  });

  store.on(["picture", "looks"], () => {
    if (!layers.ready) {
      thumbs = [];
      rows = [];
    } else if (thumbs.length !== store.regions.count) {
      thumbs = store.regions.places.map((_, r) => thumbnail(store, layers, r));
      rows = [];
      store.touch("list");
    }
  });
  store.on(["heat", "answer", "list"], paintList);
  store.on(["point"], paintPoint);
  store.on(["point", "list"], reveal);
  return el(
    "section",
    { class: "regs", "aria-label": words.regions },
    div("hd", el("h3", {}, words.regions), count, span("sp"), find, undo, redo, reset),
    div("tools", filter.node),
    div("listbox", list),
  );
}

/** A common axis for the bars of all rows, so that switching a filter moves none of them. */
function axis(e: Evidence): (v: number) => number {
  let low = 0;
  let high = 0;
  for (const r of e.order) {
    low = Math.min(low, e.value(r) - e.band(r));
    high = Math.max(high, e.value(r) + e.band(r));
  }
  return (v) => (100 * (v - low)) / (high - low || 1);
}

interface Row {
  node: HTMLElement;
  fill(e: Evidence, x: (v: number) => number): void;
}

/** A row is made once for each region and then only filled: whoever has it under the finger keeps it. */
function row(store: Store, r: number, thumb: HTMLImageElement | undefined, id: string): Row {
  const bar = el("i");
  const range = el("u");
  const scale = span("wb", bar, range);
  const value = el("span");
  const error = el("small");
  const extra = span("vh");
  const node = el(
    "div",
    { class: "row", role: "option", id, "aria-selected": "false", "data-n": r },
    span("bx", icon("check")),
    thumb ?? el("span"),
    span("vh", "Region "),
    span("rn", r),
    scale,
    span("rv", value, error),
    extra,
  );
  const fill = (e: Evidence, x: (v: number) => number): void => {
    const v = e.value(r);
    const unclear = e.unclear(r);
    const level = store.level(v);
    const band = e.band(r);
    const colour = e.signed ? Math.sign(level) * Math.max(0.62, Math.abs(level)) : level;
    node.classList.toggle("unc", unclear);
    node.setAttribute("aria-checked", String(!store.isOff(r)));
    scale.style.setProperty("--z", `${x(0)}%`);
    bar.className = unclear ? "un" : "";
    bar.style.left = `${x(Math.min(0, v))}%`;
    bar.style.width = `${Math.abs(x(v) - x(0))}%`;
    bar.style.backgroundColor = css(store.ramp.color(colour));
    range.hidden = !band;
    range.style.left = `${x(v - band)}%`;
    range.style.width = `${x(v + band) - x(v - band)}%`;
    error.hidden = !band;
    write(value, e.textOf(r));
    write(error, ` ±${e.bandText(r)}`);
    write(extra, words.rowExtra(e.rank[r] ?? 0, unclear));
  };
  return { node, fill };
}

/**
 * A cut-out of the region, so that the list can be read without its numbers; an image rather than its canvas, for a page
 * pays for each canvas in every frame.
 */
function thumbnail(store: Store, layers: Layers, r: number): HTMLImageElement {
  const image = el("img", { alt: "", draggable: false });
  const canvas = layer(THUMB, THUMB);
  const place = store.regions.places[r];
  if (!place || !layers.photo) return image;
  const g = context(canvas);
  const side = Math.max(place.x1 - place.x0 + 1, place.y1 - place.y0 + 1);
  g.translate(THUMB / 2, THUMB / 2);
  g.scale((THUMB - 2) / side, (THUMB - 2) / side);
  g.translate(-(place.x0 + place.x1 + 1) / 2, -(place.y0 + place.y1 + 1) / 2);
  g.clip(layers.path([r]), "evenodd");
  g.drawImage(layers.photo, 0, 0);
  image.src = canvas.toDataURL();
  return image;
}
