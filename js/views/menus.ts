/** What the two pickers open: classes, found among all names, and methods with their price. */
import { div, el, icon, span } from "../lib/dom.ts";
import { percent } from "../lib/format.ts";
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
  const search = el("input", {
    class: "srch",
    type: "search",
    placeholder: words.searchClasses(names.length),
    "aria-label": words.searchClasses(names.length),
  });
  const fill = (): void => {
    const query = search.value.trim().toLowerCase();
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
  };
  search.addEventListener("input", fill);
  search.addEventListener("keydown", (event) => {
    // Enter takes the best hit, as people expect of a search.
    if (event.key === "Enter") box.querySelector<HTMLButtonElement>("button")?.click();
  });
  fill();
  node.append(search, box);
}

export function fillMethods(store: Store, popovers: Popovers, node: HTMLElement): void {
  const rows = store.host.get("methods");
  for (const family of new Set(rows.map((row) => row.family))) {
    node.append(div("grp", el("span", {}, family)));
    for (const row of rows.filter((r) => r.family === family)) {
      node.append(
        entry({
          label: row.label,
          right: [row.cost],
          note: row.unfit || row.summary,
          current: row.name === store.host.get("method"),
          disabled: Boolean(row.unfit),
          choose: () => {
            popovers.close(true);
            store.choose("method", row.name);
          },
        }),
      );
    }
  }
}
