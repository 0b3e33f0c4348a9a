/** What the map says about the region that is pointed at, and what is known from switching it. */
import { div, el } from "../lib/dom.ts";
import { clamp } from "../lib/format.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";

/** Show it for a region at a place on the screen, or hide it with -1. */
export type Tip = (r: number, x?: number, y?: number, keyboard?: boolean) => void;

export function tooltip(store: Store, root: HTMLElement): Tip {
  const node = el("div", { class: "tip", hidden: true });
  root.append(node);
  store.on(["picture"], () => {
    node.hidden = true;
  });
  return (r, x = 0, y = 0, keyboard = false) => {
    node.hidden = r < 0;
    if (r < 0) return;
    const e = store.evidence;
    const lines: HTMLElement[] = [];
    if (e) {
      const band = e.band(r);
      const unit = words.unit[e.heat.unit];
      lines.push(
        div("t", words.region(r), el("span", {}, words.rank(e.rank[r] ?? 0, e.order.length))),
        div("v", e.textOf(r), el("small", {}, band ? ` ± ${e.bandText(r)} ${unit}` : ` ${unit}`)),
      );
      const meaning = e.unclear(r)
        ? words.tooUncertain
        : e.signed
          ? words.speaks(e.value(r), store.mapName)
          : words.average;
      lines.push(div("m", meaning));
    } else lines.push(div("t", words.region(r)));
    const test = store.ui.tests.find((t) => t.regions.length === 1 && t.label === words.switched([r], true));
    if (test && test.measured !== null) lines.push(div("m", words.measuredOff(test.measured)));
    const hint = store.ui.marking
      ? words.clickMarks(store.ui.marked.has(r))
      : words.clickSwitches(store.isOff(r), keyboard);
    lines.push(div("m", hint));
    node.replaceChildren(...lines);
    const within = root.getBoundingClientRect();
    let left = x - within.left + 16;
    let top = y - within.top + 16;
    if (left + node.offsetWidth > within.width - 8) left = x - within.left - node.offsetWidth - 16;
    if (top + node.offsetHeight > within.height - 8) top = y - within.top - node.offsetHeight - 16;
    node.style.left = `${clamp(left, 4, Math.max(4, within.width - node.offsetWidth - 4))}px`;
    node.style.top = `${Math.max(4, top)}px`;
  };
}
