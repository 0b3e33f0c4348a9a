/** What the two pickers open: classes, found among all names, and methods with their price. */
import { div, el, icon, span } from "../lib/dom.ts";
import { percent } from "../lib/format.ts";
import type { MethodRow } from "../protocol.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import type { Popovers } from "./popover.ts";

/** More than this nobody reads; typing narrows. */
const MOST = 60;
const TOP = 8;

interface Entry {
  label: string;
  right: (Node | string)[];
  note?: string;
  current: boolean;
  disabled?: boolean;
  choose: () => void;
}

function entry({ label, right, note, current, disabled, choose }: Entry): HTMLElement {
  return el(
    "button",
    {
      class: "it",
      "aria-disabled": disabled ? "true" : null,
      "aria-current": current ? "true" : null,
      onclick: disabled ? null : choose,
    },
    current ? icon("check") : el("span"),
    el("span", { class: "l", title: label }, label),
    span("c", right),
    note ? el("small", {}, note) : null,
  );
}

/** A field that fills `box` with what fits the words typed, now and after every letter. */
function searchField(label: string, box: HTMLElement, fill: (query: string) => void): HTMLInputElement {
  const input = el("input", { class: "srch", type: "search", placeholder: label, "aria-label": label });
  const now = (): void => fill(input.value.trim().toLowerCase());
  input.addEventListener("input", now);
  input.addEventListener("keydown", (event) => {
    // Enter takes the best hit, as people expect of a search.
    if (event.key === "Enter") box.querySelector<HTMLButtonElement>("button:not([aria-disabled])")?.click();
  });
  now();
  return input;
}

export function fillClasses(store: Store, popovers: Popovers, node: HTMLElement): void {
  const names = store.host.get("class_names");
  const now = store.now;
  const order = Array.from(names.keys()).sort((a, b) => (now[b] ?? 0) - (now[a] ?? 0));
  const most = now[order[0] as number] || 1;
  const box = el("div");
  const choose = (index: number): void => {
    popovers.close(true);
    store.choose("target", index);
  };
  const search = searchField(words.searchClasses(names.length), box, (query) => {
    const hits = query ? order.filter((i) => (names[i] as string).toLowerCase().includes(query)) : order.slice(0, TOP);
    const rows = hits.slice(0, MOST).map((i) =>
      entry({
        label: names[i] as string,
        right: [
          span("pb", el("i", { style: `width:${((now[i] ?? 0) / most) * 100}%` })),
          span("pn", percent(now[i] ?? 0)),
        ],
        current: i === store.target[0],
        choose: () => choose(i),
      }),
    );
    const heading = div("grp", el("span", {}, query ? words.found : words.mostLikely));
    heading.append(el("span", {}, words.probability));
    const rest = hits.length - rows.length;
    box.replaceChildren(
      heading,
      ...rows,
      ...(hits.length ? [] : [div("grp", words.noClass)]),
      ...(rest > 0 ? [div("grp", words.moreClasses(rest))] : []),
    );
  });
  node.append(search, box);
}

export function fillMethods(store: Store, popovers: Popovers, node: HTMLElement): void {
  const rows = store.host.get("methods");
  const box = el("div");
  const row = ({ name, label, cost, summary, unfit }: MethodRow): HTMLElement =>
    entry({
      label,
      right: [cost],
      note: unfit || summary,
      current: name === store.host.get("method"),
      disabled: Boolean(unfit),
      choose: () => {
        popovers.close(true);
        store.choose("method", name);
      },
    });
  const search = searchField(words.searchMethods(rows.length), box, (query) => {
    const hits = rows.filter(({ name, label, family }) => `${name} ${label} ${family}`.toLowerCase().includes(query));
    // What cannot run comes last in its family: it is there to say why.
    const sorted = [...hits].sort((a, b) => Number(Boolean(a.unfit)) - Number(Boolean(b.unfit)));
    const families = [...new Set(hits.map(({ family }) => family))].flatMap((family) => [
      div("grp", el("span", {}, family)),
      ...sorted.filter((hit) => hit.family === family).map(row),
    ]);
    box.replaceChildren(...(hits.length ? families : [div("grp", words.noMethod)]));
  });
  node.append(search, box);
}
