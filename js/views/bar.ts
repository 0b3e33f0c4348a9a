/** The first line, one sentence: why this class, according to which method; and what is going on. */
import { el, icon, opens, span, told, write } from "../lib/dom.ts";
import { percent } from "../lib/format.ts";
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
  const settings = el("button", { class: "ib", ...opens }, icon("sliders"));
  settings.onclick = () => {
    const row = store.method;
    if (row) popovers.toggle(settings, words.settings(row.label), (n) => fillSettings(store, row, n));
  };
  const stop = el("button", { class: "btn", onclick: () => void store.host.request("stop") }, icon("stop"), words.stop);
  const more = el(
    "button",
    { class: "btn", onclick: () => void store.host.request("more") },
    icon("plus"),
    words.refine,
  );
  const kernel = el("button", { class: "kern", ...opens }, el("i", { class: "dot" }), kernelWord);
  kernel.onclick = () => {
    const [, title, text] = words.kernel[store.ui.kernel];
    popovers.toggle(kernel, title, (n) => n.append(...told(title, [text])));
  };
  const running = el("div", { class: "run" }, run, stop, more);
  const helpButton = el(
    "button",
    { class: "ib", "aria-label": words.help, title: `${words.help} (?)`, onclick: help },
    icon("help"),
  );
  const strip = el("i");
  const progress = el(
    "div",
    { class: "strip", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" },
    strip,
  );
  let before: string | undefined;

  store.on(["heat", "answer", "status"], () => {
    const [target] = store.target;
    const { now, before: first } = store;
    name.textContent = `${store.targetName}?`;
    name.title = store.targetName;
    const changed = store.off.length > 0 && !store.asking;
    chance.replaceChildren(
      ...(target < 0 || !now.length
        ? []
        : [...(changed ? [span("from", `${percent(first[target] ?? 0)} → `)] : []), percent(now[target] ?? 0)]),
    );
    const heat = store.host.get("heat");
    const chosen = store.method;
    if (chosen?.name !== settings.dataset.of) popovers.closeIn(settings);
    settings.dataset.of = chosen?.name ?? "";
    settings.hidden = !chosen?.params?.length;
    settings.disabled = store.ui.kernel === "gone";
    settings.title = words.settings(chosen?.label ?? "");
    settings.setAttribute("aria-label", settings.title);
    method.textContent = chosen?.label ?? heat.label ?? store.host.get("method");

    const status = store.host.get("status");
    const { done, total, left, settled, more: further = 0 } = store.host.get("progress");
    const isRunning = status === "running";
    const active = (running.getRootNode() as Document | ShadowRoot).activeElement;
    stop.hidden = !isRunning;
    more.hidden = isRunning || !further;
    more.disabled = store.ui.kernel === "gone";
    more.title = words.refineTo(further);
    // One takes the other's place, and the focus.
    if ((active === stop && stop.hidden) || (active === more && more.hidden)) {
      ([stop, more].find((button) => !button.hidden && !button.disabled) ?? methods).focus({ preventScroll: true });
    }
    progress.hidden = !isRunning;
    running.classList.toggle("on", isRunning || status === "stopped" || further > 0);
    const share = total ? (done / total) * 100 : 0;
    strip.style.width = `${share}%`;
    progress.setAttribute("aria-valuenow", String(Math.round(share)));
    progress.setAttribute("aria-label", words.finding(method.textContent ?? ""));
    const bare = store.stale || heat.id === undefined;
    const { n_forward: calls = 0, seconds = 0 } = heat;
    let text = calls ? words.spent(calls, seconds) : "";
    if (isRunning) text = words.running(done, total, left);
    else if (status === "stopped") text = bare ? words.stoppedEarly : words.stopped(done, total);
    else if (status === "failed") text = words.failed;
    else if (settled) text = words.settled(done, total, seconds);
    write(run, text);
    run.title = text;
    // Said once at the end: nobody wants to hear it count.
    if (before === "running" && !isRunning) store.say(text);
    before = status;
  });
  store.on(["status"], () => {
    const state = store.ui.kernel;
    kernel.dataset.s = state;
    kernelWord.textContent = words.kernel[state][0];
    kernel.setAttribute("aria-label", words.kernel[state][1]);
  });
  return [el("header", { class: "bar" }, classes, methods, settings, running, kernel, helpButton), progress];
}
