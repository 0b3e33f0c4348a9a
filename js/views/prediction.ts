/** What the model says: one large number, and a row for each likely class, original beside now. */
import { div, el, span } from "../lib/dom.ts";
import { clamp, percent, signed } from "../lib/format.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";

const ROWS = 6;

export function prediction(store: Store): HTMLElement {
  const note = span("muted");
  const hero = el("div", { class: "hero", "data-testid": "xw-hero" });
  const rows = el("div");
  const node = el(
    "section",
    { class: "pred", "aria-label": words.prediction },
    div("hd", el("h3", {}, words.prediction), note),
    hero,
    rows,
    div("key", el("span", {}, el("i", { class: "n" }), words.now), el("span", {}, el("i"), words.original)),
  );

  store.on(["answer"], () => {
    const { before, now, asking } = store;
    if (!before.length) {
      note.textContent = "";
      hero.replaceChildren();
      rows.replaceChildren();
      return;
    }
    const [target] = store.target;
    const off = store.off.length;
    const lead = indexOfMost(now);
    node.classList.toggle("asking", asking);

    const explained = target >= 0 ? target : indexOfMost(before);
    const pair = store.target[1] !== null;
    const was = pair ? store.scoreOf(before) : (before[explained] ?? 0);
    const is = pair ? store.scoreOf(now) : (now[explained] ?? 0);
    const overtaken = !asking && target >= 0 && lead !== indexOfMost(before);
    note.classList.toggle("flip", overtaken);
    note.textContent = asking
      ? store.host.get("error")
        ? words.unanswered
        : words.asking
      : overtaken
        ? words.leads(store.className(lead))
        : off
          ? words.withOff(off)
          : words.asItIs;
    const beside = asking
      ? words.beforeLast
      : off
        ? words.from(percent(was))
        : pair
          ? store.targetName
          : store.className(explained);
    hero.replaceChildren(
      span("n", percent(is)),
      el("span", { class: "was", title: beside }, beside),
      ...(off && !asking ? [span("dl", words.points(signed((is - was) * 100)))] : []),
    );

    const likely = Array.from(before.keys()).sort((a, b) => (before[b] as number) - (before[a] as number));
    const shown = [...new Set([...likely.slice(0, ROWS), explained, lead])];
    const most = Math.max(...shown.map((i) => Math.max(before[i] as number, now[i] as number)), 1e-9);
    const open = store.ui.tests[0];
    const expected = asking && !pair && open?.measured === null ? clamp(is + open.predicted / 100, 0, 1) : null;
    rows.replaceChildren(
      ...shown.map((i) => {
        const [p, q] = [before[i] as number, now[i] as number];
        const name = store.className(i);
        const current = i === target;
        const change = (q - p) * 100;
        const row = el(
          "button",
          {
            class: `prow${current ? " cur" : ""}`,
            title: current ? words.thisClass : words.explainClass(name),
            "aria-current": current ? "true" : null,
          },
          span("nm", name),
          span(
            "tr",
            el("i", { class: "gh", style: `width:${(p / most) * 100}%` }),
            el("i", { class: "nw", style: `width:${(q / most) * 100}%` }),
            current && expected !== null
              ? el("i", { class: "ex", style: `left:${Math.min(100, (expected / most) * 100)}%`, title: words.expects })
              : null,
          ),
          span("pc", percent(q)),
          span(`dl${Math.abs(change) < 0.05 ? " same" : ""}`, off && !asking ? signed(change) : ""),
          span("vh", words.originally(percent(p))),
        );
        row.onclick = () => store.choose("target", i);
        return row;
      }),
    );
  });
  return node;
}

function indexOfMost(values: Float32Array): number {
  let best = 0;
  values.forEach((v, i) => {
    if (v > (values[best] as number)) best = i;
  });
  return best;
}
