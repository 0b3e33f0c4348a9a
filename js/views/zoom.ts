/** Looking closer: the wheel, two fingers, keys and three small buttons. All of it stays in this view. */
import { div, el, icon, span } from "../lib/dom.ts";
import { wholePercent } from "../lib/format.ts";
import { type Spot, WHOLE, zoomed } from "../lib/part.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";

/** One press of a key or button. */
export const STEP = 1.25;
/** Screen pixels that a pixel of the picture has at most. */
const PIXEL = 40;
const WHEEL = 0.0022;
const HINT = 1400;

export interface Zoom {
  node: HTMLElement;
  by(factor: number, at?: Spot): void;
  fit(): void;
  full(): void;
}

export function zoom(store: Store, root: HTMLElement, stage: HTMLElement): Zoom {
  const { ui, signal } = store;
  const by = (factor: number, at?: Spot): void => {
    const most = Math.max(8, (PIXEL * (store.regions.width || 1)) / (stage.clientWidth || 1));
    store.look(zoomed(ui.part, factor, most, at));
  };
  const fit = (): void => store.look(WHOLE);
  const full = (): void => {
    const page = root.getRootNode() as Document | ShadowRoot;
    // A host may forbid it; then nothing happens, as with any page.
    void (page.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen?.())?.catch(() => {});
  };
  const button = (name: "minus" | "plus" | "fit" | "full", act: () => void): HTMLElement => {
    const label = words.zooming[name];
    return el("button", { class: "ib", "aria-label": label, title: label, onclick: act }, icon(name));
  };
  const told = span("z");
  const node = div(
    "zoom",
    button("minus", () => by(1 / STEP)),
    told,
    button("plus", () => by(STEP)),
    button("fit", fit),
    button("full", full),
  );
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", words.zooming.group);
  const hint = div("hint");
  hint.hidden = true;
  hint.textContent = words.zooming.hint;
  stage.append(hint);
  store.on(["part"], () => {
    stage.classList.toggle("zoomed", ui.part.k > 1);
    told.textContent = wholePercent(ui.part.k);
  });

  let fading: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(fading));
  const spot = (x: number, y: number): Spot => {
    const box = stage.getBoundingClientRect();
    return [(x - box.left) / box.width, (y - box.top) / box.height];
  };
  stage.addEventListener(
    "wheel",
    (event) => {
      // A plain wheel is the notebook's, unless the reader is at work in an enlarged picture.
      if (!(event.ctrlKey || event.metaKey || (ui.part.k > 1 && stage.matches(":focus-within")))) {
        hint.hidden = false;
        clearTimeout(fading);
        fading = setTimeout(() => {
          hint.hidden = true;
        }, HINT);
        return;
      }
      event.preventDefault();
      by(Math.exp(-event.deltaY * WHEEL * (event.deltaMode ? 16 : 1)), spot(event.clientX, event.clientY));
    },
    { signal, passive: false },
  );

  const fingers = new Map<number, PointerEvent>();
  const lift = (event: PointerEvent): void => {
    fingers.delete(event.pointerId);
  };
  stage.addEventListener(
    "pointerdown",
    (event) => event.pointerType === "touch" && fingers.set(event.pointerId, event),
    {
      signal,
    },
  );
  for (const name of ["pointerup", "pointercancel", "pointerleave"] as const)
    stage.addEventListener(name, lift, { signal });
  stage.addEventListener(
    "pointermove",
    (event) => {
      if (!fingers.has(event.pointerId)) return;
      const before = spread([...fingers.values()]);
      fingers.set(event.pointerId, event);
      if (fingers.size !== 2) return;
      const [a, b] = [...fingers.values()] as [PointerEvent, PointerEvent];
      by(spread([a, b]) / before, spot((a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2));
    },
    { signal },
  );
  return { node, by, fit, full };
}

/** How far two fingers are apart. */
function spread([a, b]: PointerEvent[]): number {
  return a && b ? Math.max(1, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)) : 1;
}
