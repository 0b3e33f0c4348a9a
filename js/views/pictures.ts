/** The strip above the picture, where a batch was given: which of its pictures is explained. */
import { blob } from "../lib/bytes.ts";
import { el } from "../lib/dom.ts";
import { clamp } from "../lib/format.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";

export function pictures(store: Store, uid: string): HTMLElement {
  const node = el("div", { class: "thumbs", role: "radiogroup", "aria-label": words.pictures });
  let inputs: HTMLInputElement[] = [];
  let seen = -1;

  const thumb = (i: number): HTMLElement => {
    const choose = (): void => store.choose("picked", i);
    inputs[i] = el("input", { type: "radio", name: `${uid}-picture`, onchange: choose });
    const image = el("img", { alt: "" });
    image.onload = image.onerror = () => URL.revokeObjectURL(image.src);
    return el("label", {}, inputs[i], image);
  };
  store.on(["batch", "trouble"], () => {
    const all = store.host.get("pictures") ?? [];
    const picked = store.host.get("picked") ?? 0;
    node.hidden = !all.length;
    if (inputs.length !== all.length) {
      inputs = [];
      node.replaceChildren(...all.map((_, i) => thumb(i)));
    }
    all.forEach(({ mime, data, label, answer }, i) => {
      const input = inputs[i] as HTMLInputElement;
      const box = input.parentElement as HTMLElement;
      input.checked = i === picked;
      input.disabled = store.ui.kernel === "gone";
      // Small pictures come one after the other: only what is new is read.
      const name = [label, answer].filter(Boolean).join(", ");
      const size = String(data.byteLength);
      input.setAttribute("aria-label", name);
      box.title = name;
      if (data.byteLength && box.dataset.size !== size) {
        box.dataset.size = size;
        (box.lastChild as HTMLImageElement).src = URL.createObjectURL(blob(data, mime));
      }
    });
    const box = inputs[picked]?.parentElement;
    if (!box || picked === seen) return;
    // Scrolls the strip alone, no further than needed, and once: then it is the reader's to scroll.
    seen = picked;
    const { offsetLeft: left, offsetWidth } = box;
    node.scrollLeft = clamp(node.scrollLeft, left + offsetWidth - node.clientWidth, left);
  });
  // Radio buttons know the arrows, but not in every browser both pairs, and not Home and End.
  node.addEventListener("keydown", (event) => {
    const at = inputs.indexOf(event.target as HTMLInputElement);
    const last = inputs.length - 1;
    const [back, on] = [Math.max(at - 1, 0), Math.min(at + 1, last)];
    const to = { ArrowLeft: back, ArrowUp: back, ArrowRight: on, ArrowDown: on, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    inputs[to]?.focus({ preventScroll: true });
    inputs[to]?.click();
  });
  return node;
}
