/** What the reader thinks of the map: verdict on regions or the whole, rating, comment; saved when the kernel says so. */
import { div, el, icon, segmented, span } from "../lib/dom.ts";
import { type Judgement, VERDICTS, type Verdict } from "../protocol.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";

const SHOWN = 4;
/** Milliseconds after which a judgement that was not answered is called so. */
const PATIENCE = 20_000;
const ICONS = { mattered: "check", must_not_matter: "ban", unsure: "question" } as const;

export function judgement(store: Store, uid: string): { node: HTMLElement; submit: () => void } {
  const { ui, host } = store;
  const kept = span("muted");
  const verdict = segmented<Verdict>(
    words.verdict,
    `${uid}-verdict`,
    VERDICTS.map((value) => ({ value, label: words.verdicts[value], icon: ICONS[value] })),
    (value) => {
      ui.verdict = value;
      store.touch("marks");
    },
  );
  verdict.node.classList.add("verd");
  const rating = segmented<number>(
    words.makesSense,
    `${uid}-rating`,
    [1, 2, 3, 4, 5].map((value) => ({ value, label: String(value) })),
    (value) => {
      ui.rating = value;
      store.touch("marks");
    },
  );
  const mark = el(
    "button",
    { class: "btn mark", "aria-pressed": "false", title: `${words.wholeRegions} (G)` },
    icon("region"),
    words.wholeRegions,
  );
  mark.onclick = () => setMarking(store, !ui.marking);
  const clear = el("button", { class: "ib", "aria-label": words.clearMarks }, icon("trash"));
  clear.onclick = () => {
    ui.marked.clear();
    ui.saving = { state: "none" };
    store.touch("marks");
  };
  const what = span("what");
  const label = el("input", { class: "lbl", type: "text", placeholder: words.labelHint, "aria-label": words.label });
  const comment = el("textarea", { rows: 1, placeholder: words.commentHint, "aria-label": words.comment });
  const saved = el("span", { class: "saved", role: "status", "data-testid": "xw-saved" });
  const send = el("button", { class: "btn pri" }, words.submit);
  const earlier = el("ul", { class: "earlier" });
  const place = el("p", { class: "muted place" });

  const form = div(
    "fbg",
    verdict.node,
    div("drawrow", mark, what, clear),
    div("rate", el("span", {}, words.makesSense), rating.node, label),
    comment,
    div("sub", saved, send),
  );

  let patience: ReturnType<typeof setTimeout> | undefined;
  store.signal.addEventListener("abort", () => clearTimeout(patience));
  /** Nothing was said, or what is on show was shown in the meantime only. */
  const nothing = (): boolean =>
    !(ui.verdict || ui.rating || label.value || comment.value) || (!ui.marked.size && store.preview !== "");
  const submit = (): void => {
    if (ui.saving.state === "saving" || ui.kernel === "gone" || nothing()) return;
    const { marked } = ui; // another picture has a set of its own
    const regions = store.marks;
    const payload = { verdict: ui.verdict, regions, rating: ui.rating, label: label.value, comment: comment.value };
    ui.saving = { state: "saving" };
    store.touch("marks");
    clearTimeout(patience);
    patience = setTimeout(() => {
      ui.saving = { state: "failed", why: words.noAnswer };
      store.touch("marks");
    }, PATIENCE);
    void host.request("record", payload).then((answer) => {
      clearTimeout(patience);
      if (answer.done) {
        // Only now is it on disk: the marks turn solid, and the form is free for the next one.
        const at = new Date(String(answer.payload.created));
        ui.saving = { state: "saved", at: at.toLocaleTimeString() };
        marked.clear();
        ui.marking = false;
        ui.rating = null;
        ui.verdict = null;
        label.value = "";
        comment.value = "";
      } else ui.saving = { state: "failed", why: String(answer.payload.message ?? "") };
      store.touch("marks");
    });
  };
  send.onclick = submit;
  const edited = (): void => {
    if (ui.saving.state !== "saving") ui.saving = { state: "none" };
    store.touch("marks");
  };
  for (const field of [label, comment]) field.addEventListener("input", edited);

  store.on(["marks", "status", "heat"], () => {
    verdict.set(ui.verdict);
    rating.set(ui.rating);
    mark.setAttribute("aria-pressed", String(ui.marking));
    clear.disabled = !ui.marked.size;
    const regions = store.marks;
    what.textContent = regions.length ? words.judgedRegions(regions) : words.judgedWhole;
    const { saving } = ui;
    saved.className = `saved ${saving.state}`;
    const text = {
      none: "",
      saving: words.saving,
      saved: saving.state === "saved" ? words.saved(saving.at) : "",
      failed: saving.state === "failed" ? words.notSaved(saving.why) : "",
    }[saving.state];
    const shape = { saved: "check", failed: "warn" }[saving.state as string] as "check" | "warn" | undefined;
    saved.replaceChildren(...(shape ? [icon(shape)] : []), text);
    send.disabled = saving.state === "saving" || ui.kernel === "gone" || nothing();
    form.inert = saving.state === "saving"; // what is typed meanwhile would be wiped
    const all = host.get("feedback");
    kept.textContent = all.length ? words.earlier(all.length) : "";
    earlier.replaceChildren(...all.slice(-SHOWN).reverse().map(line));
    if (all.length > SHOWN) earlier.append(el("li", { class: "muted" }, words.andMore(all.length - SHOWN)));
    const { path } = host.get("store");
    place.textContent = path ? words.keptIn(path) : "";
    place.title = path ?? "";
  });

  const node = el(
    "section",
    { class: "fb", "aria-label": words.judgement },
    div("hd", el("h3", {}, words.judgement), kept),
    form,
    earlier,
    place,
  );
  return { node, submit };
}

/** Marking is a mode: clicks mark, they do not switch; the picture says so. */
export function setMarking(store: Store, on: boolean): void {
  store.ui.marking = on;
  if (on) store.ui.verdict ??= "mattered"; // marks need a colour
  store.touch("marks");
  store.say(on ? words.markOn : words.markOff);
}

function line(one: Judgement): HTMLElement {
  const verdict = one.verdict as Verdict | null;
  const said = [
    verdict ? words.verdicts[verdict] : words.unrated,
    one.regions.length ? words.judgedRegions(one.regions) : words.judgedWhole,
    one.rating ? `${one.rating}/5` : "",
    one.label,
    one.comment,
    one.annotator,
  ].filter(Boolean);
  const text = said.join(" · ");
  return el("li", { title: text }, verdict ? icon(ICONS[verdict]) : null, el("span", {}, text));
}
