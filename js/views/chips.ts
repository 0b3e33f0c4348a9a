/** How the map was made, in the footer: short facts that open to plain words, and the layer to be chosen. */
import { choices, el, icon, opens, span, told } from "../lib/dom.ts";
import type { Fact } from "../protocol.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import type { Popovers } from "./popover.ts";

export function chips(store: Store, popovers: Popovers): HTMLElement {
  const { host } = store;
  const node = el("footer", { class: "chips", role: "group", "aria-label": words.chips });
  const layer = el("select", { onchange: () => store.choose("layer", layer.value) });
  const readAt = el("label", { class: "at" }, words.readAt, layer);
  let keys: string | undefined;
  let texts: HTMLElement[] = [];

  const chip = ({ key, title }: Fact, i: number): HTMLElement => {
    const button = el("button", { class: "chip", ...opens });
    button.onclick = () =>
      popovers.toggle(button, title, (pop) => {
        pop.append(texts[i] as HTMLElement);
        if (key === "layer" && layer.length > 1) pop.append(readAt);
      });
    return button;
  };
  const fill = ({ label, value, level, title, text }: Fact, i: number): void => {
    const warn = level === "warn";
    const mark = level && icon(warn ? "warn" : "check");
    if (mark) mark.classList.add(warn ? "w" : "g");
    node.children[i]?.replaceChildren(
      span("k", label),
      el("span", { class: warn ? "w" : "", title: value }, value),
      mark,
    );
    texts[i]?.replaceChildren(...told(title, text));
  };
  store.on(["facts", "trouble"], () => {
    const facts = host.get("facts");
    const layers = (host.get("layers") ?? []).map(({ name, label }): [string, string] => [name, label]);
    choices(layer, [["", words.automatic], ...layers], host.get("layer") ?? "");
    layer.disabled = store.ui.kernel === "gone";
    const now = facts.map((fact) => fact.key).join();
    if (now !== keys) {
      // Only then: with a chip that is replaced goes what it has opened, and the focus in it.
      keys = now;
      popovers.closeIn(node);
      texts = facts.map(() => el("div"));
      node.replaceChildren(...facts.map(chip));
    }
    facts.forEach(fill);
  });
  return node;
}
