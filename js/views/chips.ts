/** How the map was made, in the footer: short facts that open to plain words. */
import { el, icon, opens, span } from "../lib/dom.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import type { Popovers } from "./popover.ts";

export function chips(store: Store, popovers: Popovers): HTMLElement {
  const node = el("footer", { class: "chips", role: "group", "aria-label": words.chips });
  store.on(["facts"], () => {
    popovers.closeIn(node);
    node.replaceChildren(
      ...store.host.get("facts").map((fact) => {
        const mark = fact.level ? icon(fact.level === "warn" ? "warn" : "check") : null;
        mark?.classList.add(fact.level === "warn" ? "w" : "g");
        const chip = el(
          "button",
          { class: "chip", ...opens },
          span("k", fact.label),
          el("span", { class: fact.level === "warn" ? "w" : "", title: fact.value }, fact.value),
          mark as unknown as Node,
        );
        chip.onclick = () =>
          popovers.toggle(chip, fact.title, (pop) =>
            pop.append(el("h4", {}, fact.title), ...fact.text.map((text) => el("p", {}, text))),
          );
        return chip;
      }),
    );
  });
  return node;
}
