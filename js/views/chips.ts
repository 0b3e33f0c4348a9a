/** How the map was made, in the footer: short facts that open to plain words, and the layer to be chosen. */
import { arrange, choices, el, icon, opens, span, told } from "../lib/dom.ts";
import type { Fact } from "../protocol.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import type { Popovers } from "./popover.ts";

export function chips(store: Store, popovers: Popovers): HTMLElement {
  const { host } = store;
  const node = el("footer", { class: "chips", role: "group", "aria-label": words.chips });
  const layer = el("select", { onchange: () => store.choose("layer", layer.value) });
  const readAt = el("label", { class: "at" }, words.readAt, layer);
  const made = new Map<string, { button: HTMLButtonElement; text: HTMLElement; fact: string }>();

  const chip = ({ key, title }: Fact): { button: HTMLButtonElement; text: HTMLElement; fact: string } => {
    const button = el("button", { class: "chip", ...opens });
    const text = el("div");
    button.onclick = () =>
      popovers.toggle(button, title, (pop) => {
        pop.append(text);
        if (key === "layer" && layer.length > 1) pop.append(readAt);
      });
    return { button, text, fact: "" };
  };
  const filled = (fact: Fact): HTMLElement => {
    const { key, label, value, level, title, text } = fact;
    const one = made.get(key) ?? chip(fact);
    made.set(key, one);
    const now = JSON.stringify(fact);
    if (one.fact === now) return one.button;
    one.fact = now;
    const warn = level === "warn";
    const mark = level && icon(warn ? "warn" : "check");
    if (mark) mark.classList.add(warn ? "w" : "g");
    one.button.replaceChildren(
      span("k", label),
      el("span", { class: warn ? "w" : "", title: value }, value),
      ...(mark ? [mark] : []),
    );
    one.text.replaceChildren(...told(title, text));
    return one.button;
  };
  store.on(["facts", "trouble"], () => {
    const facts = host.get("facts");
    const layers = (host.get("layers") ?? []).map(({ name, label }): [string, string] => [name, label]);
    choices(layer, [["", words.automatic], ...layers], host.get("layer") ?? "");
    layer.disabled = store.ui.kernel === "gone";
    for (const [key, { button }] of made) {
      if (facts.some((fact) => fact.key === key)) continue;
      popovers.closeIn(button); // with a chip that goes, what it has opened
      made.delete(key);
    }
    arrange(node, facts.map(filled));
  });
  return node;
}
