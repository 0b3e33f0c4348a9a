/** The controls of the method on show, made from what it says of its parameters. */
import { choices, div, el } from "../lib/dom.ts";
import type { MethodRow, ParamRow, ParamValue } from "../protocol.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";

/** Fill the popover; a change is sent as soon as it is made, and explains anew. */
export function fillSettings(store: Store, method: MethodRow, node: HTMLElement): void {
  // Only what was changed: the kernel knows the rest, and may have gone on to another method.
  const send = (changed: Record<string, ParamValue>): void => store.choose("params", changed);
  const controls = method.params.map((param) => control(param, (value) => send({ [param.name]: value })));
  const paint = (values: Record<string, ParamValue>): void =>
    controls.forEach(({ set }, i) => {
      const { name, default: own } = method.params[i] as ParamRow;
      set(name in values ? (values[name] as ParamValue) : own);
    });
  const reset = el("button", { class: "btn" }, words.defaults);
  reset.onclick = () => {
    const own = Object.fromEntries(method.params.map((param) => [param.name, param.default]));
    paint(own);
    send(own);
  };
  paint(store.host.get("params") ?? {});
  node.append(el("h4", {}, words.settings(method.label)), ...controls.map((one) => one.node), reset);
}

function control(param: ParamRow, send: (value: ParamValue) => void): { node: HTMLElement; set(v: ParamValue): void } {
  const label = (field: HTMLElement): HTMLElement =>
    el("label", { class: "set" }, el("span", {}, words.spelled(param.name)), field, el("small", {}, param.help));
  if (param.choices.length) {
    const select = el("select", { onchange: () => send(select.value || null) });
    const empty: [string, string][] = param.default === null ? [["", words.automatic]] : [];
    choices(select, [...empty, ...param.choices.map((choice): [string, string] => [choice, choice])], "");
    return { node: label(select), set: (value) => (select.value = String(value ?? "")) };
  }
  const isNumber = param.kind !== "str";
  const input = el("input", {
    type: isNumber ? "number" : "text",
    min: param.low ?? undefined,
    max: param.high ?? undefined,
    step: param.kind === "int" ? 1 : "any",
    required: param.default !== null,
    placeholder: words.automatic,
  });
  input.onchange = () => {
    if (!input.reportValidity()) return;
    send(input.value === "" ? null : isNumber ? Number(input.value) : input.value);
  };
  return { node: div("", label(input)), set: (value) => (input.value = String(value ?? "")) };
}
