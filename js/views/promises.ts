/** Does the map keep its word? Each switch: what the map says, what the model did, and a running score. */
import { div, el, icon, opens, span, told } from "../lib/dom.ts";
import { signed } from "../lib/format.ts";
import { outcome, score, type Test } from "../lib/word.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import type { Popovers } from "./popover.ts";

const SHOWN = 3;

export function promises(store: Store, popovers: Popovers): HTMLElement {
  const body = div("tests");
  const info = el(
    "button",
    {
      class: "ib info",
      ...opens,
      "aria-label": words.whatCompared,
    },
    icon("info"),
  );
  const [title, ...texts] = words.compared;
  info.onclick = () =>
    popovers.toggle(info, words.whatCompared, (node) => node.append(...told(title as string, texts)));
  const empty = (text: string): void => body.replaceChildren(el("p", { class: "empty" }, text));

  let said = "";
  store.on(["answer", "heat", "status"], () => {
    const { tests, kernel } = store.ui;
    const { label } = store.host.get("heat");
    const now = JSON.stringify([kernel === "gone", !store.evidence, store.promises, label, tests]);
    if (now === said) return; // a better map of the same changes nothing here
    said = now;
    if (kernel === "gone" && !tests.length) return empty(words.needsModel);
    if (!store.evidence) return empty("");
    if (!store.promises) return empty(words.noPromise(label ?? ""));
    if (!tests.length) return empty(words.clickToTest);
    const shown = tests.slice(0, SHOWN);
    const verdict = outcome(tests[0] as Test);
    const { right, of, miss } = score(tests);
    const cell = (text: string): HTMLElement => el("span", { class: "n", role: "columnheader" }, text);
    body.replaceChildren(
      el(
        "div",
        { role: "table", "aria-label": words.keepsWord },
        el(
          "div",
          { class: "trow hdr", role: "row" },
          el("span", { role: "columnheader" }, words.inPoints),
          el("span", { role: "columnheader" }),
          cell(words.mapSays),
          cell(words.modelDid),
        ),
        rows(shown),
      ),
      el(
        "p",
        { class: "verdict" },
        el("b", {}, verdict ? words.outcome[verdict] : words.askingModel),
        of > 1 ? span("muted", ` ${words.score(right, of, miss)}`) : null,
      ),
      div(
        "key",
        el("span", {}, el("i", { class: "pr" }), words.mapSaysBand),
        el("span", {}, el("i", { class: "me" }), words.modelDid),
      ),
    );
  });
  return div("pvm", div("hd", el("h3", {}, words.keepsWord), info), body);
}

function rows(tests: Test[]): HTMLElement[] {
  const ends = tests.flatMap((t) => [t.predicted - t.band, t.predicted + t.band, t.measured ?? t.predicted, 0]);
  const low = Math.min(-1, ...ends);
  const high = Math.max(1, ...ends);
  const x = (v: number): number => 4 + (92 * (v - low)) / (high - low);
  return tests.map(({ label, predicted, band, measured }, i) =>
    el(
      "div",
      { class: `trow${i ? "" : " latest"}`, role: "row" },
      el("span", { class: "nm", title: label, role: "cell" }, label),
      el(
        "span",
        { class: "ax", role: "cell", "aria-hidden": "true", style: `--z:${x(0)}%` },
        el("i", {
          class: "er",
          style: `left:${x(predicted - band)}%;width:${x(predicted + band) - x(predicted - band)}%`,
        }),
        measured === null
          ? null
          : el("i", {
              class: "ln",
              style: `left:${Math.min(x(predicted), x(measured))}%;width:${Math.abs(x(predicted) - x(measured))}%`,
            }),
        el("i", { class: "pr", style: `left:${x(predicted)}%` }),
        measured === null ? null : el("i", { class: "me", style: `left:${x(measured)}%` }),
      ),
      el("span", { class: "n", role: "cell" }, signed(predicted)),
      el("span", { class: "n", role: "cell" }, measured === null ? "…" : signed(measured)),
    ),
  );
}
