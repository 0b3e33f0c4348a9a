/** The sheet behind "?": how to read the map, and every key. */
import { div, el, icon, span } from "../lib/dom.ts";
import * as words from "../words.ts";

export class Help {
  #scrim: HTMLElement | null = null;
  #back: HTMLElement | null = null;

  constructor(readonly root: HTMLElement) {}

  get isOpen(): boolean {
    return this.#scrim !== null;
  }

  open(): void {
    if (this.#scrim) return;
    const sheet = words.sheet;
    const shadow = this.root.getRootNode() as Document | ShadowRoot;
    this.#back = shadow.activeElement as HTMLElement | null;
    const close = el("button", { class: "ib", "aria-label": sheet.close }, icon("close"));
    close.onclick = () => this.close();
    const keys = (text: string): HTMLElement[] => text.split(" ").map((key) => el("kbd", {}, key));
    const panel = el(
      "div",
      { class: "sheet", role: "dialog", "aria-modal": "true", "aria-label": words.help, tabIndex: -1 },
      div("hd", el("h3", {}, sheet.title), span("sp"), close),
      el("p", { class: "read" }, sheet.text),
      div(
        "cols",
        sheet.groups.map(([title, rows]) =>
          el(
            "div",
            {},
            el("h4", {}, title),
            el(
              "dl",
              {},
              rows.flatMap(([key, text]) => [el("dt", {}, keys(key)), el("dd", {}, text)]),
            ),
          ),
        ),
      ),
    );
    this.#scrim = div("scrim", panel);
    this.#scrim.onclick = (event) => {
      if (event.target === this.#scrim) this.close();
    };
    this.root.append(this.#scrim);
    close.focus({ preventScroll: true });
  }

  close(): void {
    this.#scrim?.remove();
    this.#scrim = null;
    this.#back?.focus({ preventScroll: true });
  }
}
