/** Puts the views together in the order of reading: picture, prediction, test, judgement, how it was made. */
import { div, el } from "../lib/dom.ts";
import { followTheme } from "../lib/theme.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import { bar } from "./bar.ts";
import { chips } from "./chips.ts";
import { display } from "./display.ts";
import { gallery } from "./gallery.ts";
import { Help } from "./help.ts";
import { judgement } from "./judgement.ts";
import { keys } from "./keys.ts";
import { legend } from "./legend.ts";
import { notes } from "./notes.ts";
import { picture } from "./picture.ts";
import { pictures } from "./pictures.ts";
import { Popovers } from "./popover.ts";
import { prediction } from "./prediction.ts";
import { promises } from "./promises.ts";
import { regions } from "./regions.ts";

export function shell(parent: HTMLElement, store: Store): void {
  // Radio groups and labels need names of their own in each view.
  const uid = `xw-${Math.random().toString(36).slice(2, 9)}`;
  const root = el("div", { class: "xw", role: "region", "data-testid": "xw", "data-lm-suppress-shortcuts": "true" });
  const popovers = new Popovers(root, store.signal);
  const help = new Help(root);
  followTheme(root, () => store.touch("looks", "heat"), store.signal);

  const [header, strip] = bar(store, popovers, () => help.open());
  const canvas = picture(store, root, uid);
  const [fold, panel] = display(store, uid);
  const predicted = prediction(store);
  predicted.append(promises(store, popovers));
  const judged = judgement(store, uid);
  const live = el("div", { class: "vh", "aria-live": "polite" });
  const parts = [header, strip, notes(store)].filter((n): n is HTMLElement => n !== undefined);
  root.prepend(
    ...parts,
    div(
      "body",
      el(
        "section",
        { class: "pic", "aria-label": words.picture },
        pictures(store, uid),
        ...canvas.nodes,
        ...legend(store).nodes,
        gallery(store, popovers),
        div("under", fold, canvas.zoom.node),
        panel,
      ),
      predicted,
      judged.node,
      regions(store, canvas.layers, uid),
    ),
    chips(store, popovers),
    live,
  );
  keys(store, root, popovers, help, judged.submit, canvas.zoom);

  store.on(["status", "heat", "answer"], () => {
    const { host } = store;
    root.dataset.status = host.get("status");
    root.dataset.heat = String(host.get("heat").id ?? "");
    root.dataset.off = (host.get("prediction").off ?? []).join();
    root.setAttribute("aria-label", words.explained(store.mapName, host.get("heat").label ?? host.get("method")));
    if (live.textContent !== store.ui.said) live.textContent = store.ui.said;
  });
  parent.append(root);
  store.signal.addEventListener("abort", () => root.remove());
}
