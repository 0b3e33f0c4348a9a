/** The first line, one sentence: why this class, according to which method; and what is going on. */
import { el, icon, opens, span, told } from "../lib/dom.ts";
import { percent } from "../lib/format.ts";
import type { MethodRow } from "../protocol.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import { fillClasses, fillMethods } from "./menus.ts";
import type { Popovers } from "./popover.ts";
import { fillSettings } from "./settings.ts";

export function bar(store: Store, popovers: Popovers, help: () => void): HTMLElement[] {
  const name = el("b");
  const chance = span("p");
  const method = el("b");
  const run = span("txt");
  const kernelWord = span("t");
  const pick = (key: string, value: HTMLElement, rest: HTMLElement | null): HTMLButtonElement =>
    el("button", { class: "pick", ...opens }, span("k", key), value, rest, icon("chevron"));
  const classes = pick(words.why, name, chance);
  const methods = pick(words.accordingTo, method, null);
  classes.onclick = () => popovers.toggle(classes, words.classes, (n) => fillClasses(store, popovers, n), "menu");
  methods.onclick = () => popovers.toggle(methods, words.methods, (n) => fillMethods(store, popovers, n), "menu");
  const own = (): MethodRow | undefined =>
    store.host.get("methods").find((row) => row.name === store.host.get("method"));
  const settings = el("button", { class: "ib", ...opens }, icon("sliders"));
  settings.onclick = () => {
    const row = own();
    if (row) popovers.toggle(settings, words.settings(row.label), (n) => fillSettings(store, row, n));
  };
  const stop = el(
    "button",
    { class: "btn stop", onclick: () => void store.host.request("stop") },
    icon("stop"),
    words.stop,
  );
  const kernel = el("button", { class: "kern", ...opens }, el("i", { class: "dot" }), kernelWord);
  kernel.onclick = () => {
    const [, title, text] = words.kernel[store.ui.kernel];
    popovers.toggle(kernel, title, (n) => n.append(...told(title, [text])));
  };
  const running = el("div", { class: "run", role: "status" }, run, stop);
  const helpButton = el(
    "button",
    { class: "ib", "aria-label": words.help, title: `${words.help} (?)`, onclick: help },
    icon("help"),
  );
  const strip = el("i");
  const progress = el(
    "div",
    { class: "strip", role: "progressbar", "aria-label": words.asking, "aria-valuemin": "0", "aria-valuemax": "100" },
    strip,
  );

  store.on(["heat", "answer", "status"], () => {
    const [target] = store.target;
    const { now, before } = store;
    name.textContent = `${store.targetName}?`;
    name.title = store.targetName;
    const changed = store.off.length > 0 && !store.asking;
    chance.replaceChildren(
      ...(target < 0 || !now.length
        ? []
        : [...(changed ? [span("from", `${percent(before[target] ?? 0)} → `)] : []), percent(now[target] ?? 0)]),
    );
    const heat = store.host.get("heat");
    const chosen = own();
    if (chosen?.name !== settings.dataset.of) popovers.closeIn(settings);
    settings.dataset.of = chosen?.name ?? "";
    settings.hidden = !chosen?.params?.length;
    settings.disabled = store.ui.kernel === "gone";
    settings.title = words.settings(chosen?.label ?? "");
    settings.setAttribute("aria-label", settings.title);
    method.textContent = chosen?.label ?? heat.label ?? store.host.get("method");

    const status = store.host.get("status");
    const { done, total, left } = store.host.get("progress");
    const isRunning = status === "running";
    stop.hidden = !isRunning;
    progress.hidden = !isRunning;
    running.classList.toggle("on", isRunning || status === "stopped");
    const share = total ? (done / total) * 100 : 0;
    strip.style.width = `${share}%`;
    progress.setAttribute("aria-valuenow", String(Math.round(share)));
    if (isRunning) run.textContent = words.running(done, total, left);
    else if (status === "stopped") run.textContent = words.stopped(done, total);
    else if (status === "failed") run.textContent = words.failed;
    else run.textContent = heat.n_forward ? words.spent(heat.n_forward ?? 0, heat.seconds ?? 0) : "";
  });
  store.on(["status"], () => {
    const state = store.ui.kernel;
    kernel.dataset.s = state;
    kernelWord.textContent = words.kernel[state][0];
    kernel.setAttribute("aria-label", words.kernel[state][1]);
  });
  return [el("header", { class: "bar" }, classes, methods, settings, running, kernel, helpButton), progress];
}
