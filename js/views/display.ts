/** How the map is shown. Everything here happens in the browser; a value is saved when its slider is let go. */
import { choices, div, el, icon, segmented, span } from "../lib/dom.ts";
import { wholePercent } from "../lib/format.ts";
import type { Colormap } from "../protocol.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";

export function display(store: Store, uid: string): [fold: HTMLElement, panel: HTMLElement] {
  const panel = el("div", { class: "disp", id: `${uid}-disp`, hidden: true });
  const told = el("span");
  const fold = el(
    "button",
    { class: "disc", "aria-expanded": "false", "aria-controls": panel.id },
    icon("right"),
    el("b", {}, words.display),
    told,
  );
  fold.onclick = () => {
    panel.hidden = !panel.hidden;
    fold.setAttribute("aria-expanded", String(!panel.hidden));
  };

  const slider = (
    key: "opacity" | "threshold",
    label: string,
    min: number,
  ): { nodes: HTMLElement[]; paint(): void } => {
    const input = el("input", { id: `${uid}-${key}`, type: "range", min, max: 100, step: 1 });
    const out = span("o");
    // Painting follows every move; the kernel hears of it once, at the end.
    input.addEventListener("input", () => store.host.set(key, Number(input.value) / 100));
    input.addEventListener("change", () => store.host.save());
    return {
      nodes: [el("label", { for: input.id, htmlFor: input.id }, label), input, out],
      paint() {
        const value = Math.round(store.host.get(key) * 100);
        if (Number(input.value) !== value) input.value = String(value);
        input.style.setProperty("--v", `${((value - min) / (100 - min)) * 100}%`);
        out.textContent = wholePercent(value / 100);
        input.setAttribute("aria-valuetext", out.textContent);
      },
    };
  };
  const opacity = slider("opacity", words.opacity, 0);
  const threshold = slider("threshold", words.strongestShare, 1);

  const view = segmented(
    words.view,
    `${uid}-view`,
    (["heat", "evidence", "photo"] as const).map((value) => ({ value, label: words.views[value] })),
    (value) => {
      store.ui.view = value;
      store.touch("looks");
    },
  );
  const sign = segmented(
    words.sign,
    `${uid}-sign`,
    (["both", "for", "against", "size"] as const).map((value) => ({ value, label: words.signs[value] })),
    (value) => store.choose("sign", value),
  );
  const signRow = [span("lab", words.sign), div("w", sign.node)];
  const colours = el("select", { id: `${uid}-colours` });
  colours.onchange = () => store.choose("colormap", colours.value as Colormap);
  const check = (label: string, key: "outlines" | "hideUnclear"): { node: HTMLElement; input: HTMLInputElement } => {
    const input = el("input", { type: "checkbox" });
    input.onchange = () => {
      store.ui[key] = input.checked;
      store.touch("looks");
    };
    return { node: el("label", { class: "chk" }, input, label), input };
  };
  const outlines = check(words.allOutlines, "outlines");
  const unclear = check(words.hideUnclear, "hideUnclear");
  panel.append(
    span("lab", words.view),
    div("w", view.node),
    ...opacity.nodes,
    ...threshold.nodes,
    ...signRow,
    el("label", { htmlFor: colours.id }, words.colours),
    div("w", colours, outlines.node, unclear.node),
  );

  store.on(["looks", "opacity", "heat"], () => {
    const evidence = store.evidence;
    const isSigned = evidence?.signed ?? true;
    opacity.paint();
    threshold.paint();
    view.set(store.ui.view);
    sign.set(store.host.get("sign"));
    for (const node of signRow) node.hidden = !isSigned;
    const fitting = Object.entries(store.ramps).filter(([, ramp]) => ramp.signed === isSigned);
    const chosen = store.host.get("colormap");
    const names = fitting.map(([value, ramp]): [string, string] => [value, ramp.name]);
    choices(
      colours,
      [["auto", words.automatic], ...names],
      fitting.some(([value]) => value === chosen) ? chosen : "auto",
    );
    outlines.input.checked = store.ui.outlines;
    unclear.input.checked = store.ui.hideUnclear;
    unclear.node.hidden = !evidence?.errors;
    const { view: shown, outlines: lined, hideUnclear } = store.ui;
    const share = store.host.get("threshold");
    told.textContent = [
      shown === "heat" ? words.looks.heat(wholePercent(store.host.get("opacity"))) : words.looks[shown],
      share < 1 ? words.looks.strongest(wholePercent(share)) : "",
      isSigned ? words.looks[store.host.get("sign")] : "",
      lined ? words.looks.outlines : "",
      hideUnclear && evidence?.errors ? words.looks.unclear : "",
    ]
      .filter(Boolean)
      .join(" · ");
  });
  return [fold, panel];
}
