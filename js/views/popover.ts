/** One popover at a time, placed inside the widget's root beside the button that opened it. */
import { el } from "../lib/dom.ts";
import { clamp } from "../lib/format.ts";

const ENTRIES = "button:not([aria-disabled]),input,select";

export class Popovers {
  #open: { node: HTMLElement; button: HTMLElement } | null = null;

  constructor(
    readonly root: HTMLElement,
    signal: AbortSignal,
  ) {
    // Capture, because other widgets may stop the event on its way up.
    document.addEventListener(
      "pointerdown",
      (event) => {
        const path = event.composedPath();
        if (this.#open && !path.includes(this.#open.node) && !path.includes(this.#open.button)) this.close();
      },
      { signal, capture: true },
    );
  }

  get isOpen(): boolean {
    return this.#open !== null;
  }

  /** Open below the button (above if there is no room), or close if it was this button's. */
  toggle(button: HTMLElement, label: string, fill: (node: HTMLElement) => void, kind = ""): void {
    const mine = this.#open?.button === button;
    this.close();
    if (mine) return;
    const node = el("div", { class: `pop ${kind}`, role: "dialog", "aria-label": label, tabIndex: -1 });
    fill(node);
    this.root.append(node);
    this.#open = { node, button };
    button.setAttribute("aria-expanded", "true");
    const at = button.getBoundingClientRect();
    const within = this.root.getBoundingClientRect();
    node.style.left = `${clamp(at.left - within.left, 8, Math.max(8, within.width - node.offsetWidth - 8))}px`;
    const below = at.bottom - within.top + 4;
    const above = at.top - within.top > node.offsetHeight + 4;
    // Held at the edge beside the button: what is told inside may grow.
    if (above && below + node.offsetHeight > within.height) node.style.bottom = `${within.bottom - at.top + 4}px`;
    else node.style.top = `${below}px`;
    const first = node.querySelector<HTMLElement>(ENTRIES) ?? node;
    first.focus({ preventScroll: true });
    // What is chosen now may be far down.
    const current = node.querySelector<HTMLElement>("[aria-current]");
    if (current) node.scrollTop = current.offsetTop - node.clientHeight / 2;
  }

  /** Close; `back` returns the focus to the button. */
  close(back = false): void {
    if (!this.#open) return;
    const { node, button } = this.#open;
    this.#open = null;
    node.remove();
    button.setAttribute("aria-expanded", "false");
    if (back) button.focus({ preventScroll: true });
  }

  /** Close if it belongs to a button in `node`, which is about to be replaced. */
  closeIn(node: HTMLElement): void {
    if (this.#open && node.contains(this.#open.button)) this.close();
  }

  /** Arrow keys walk through the entries. */
  walk(by: 1 | -1): void {
    if (!this.#open) return;
    const entries = [...this.#open.node.querySelectorAll<HTMLElement>(ENTRIES)];
    const root = this.#open.node.getRootNode() as Document | ShadowRoot;
    const i = entries.indexOf(root.activeElement as HTMLElement);
    entries[(i + by + entries.length) % entries.length]?.focus();
  }
}
