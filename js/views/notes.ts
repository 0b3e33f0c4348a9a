/** What went wrong or is missing, under the bar and never over the picture. */
import { div, el, type IconName, icon } from "../lib/dom.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";

/** Text in which `backticks` become code; built of nodes, so nothing in it is ever run. */
function prose(text: string): Node[] {
  return text.split(/`([^`]+)`/).map((part, i) => (i % 2 ? el("code", {}, part) : document.createTextNode(part)));
}

function note(kind: string, shape: IconName, body: (Node | string)[], actions: Node[]): HTMLElement {
  return el(
    "div",
    { class: `note ${kind}`, role: kind === "err" ? "alert" : "status" },
    icon(shape),
    div("g", body),
    div("acts", actions),
  );
}

export function notes(store: Store): HTMLElement {
  const root = el("div");
  let open = false;
  const error = (): HTMLElement[] => {
    const failure = store.host.get("error");
    if (!failure) {
      open = false;
      return [];
    }
    const trace = el("pre", { hidden: !open }, failure.traceback);
    const details = el(
      "button",
      { class: "btn quiet", "aria-expanded": String(open) },
      open ? words.hideDetails : words.details,
    );
    details.onclick = () => {
      open = !open;
      store.touch("trouble");
    };
    const retry = el("button", { class: "btn" }, words.tryAgain);
    retry.onclick = () => void store.host.request("retry");
    const dismiss = el("button", { class: "ib", "aria-label": words.dismiss }, icon("close"));
    dismiss.onclick = () => store.choose("error", null);
    const kept = store.host.get("heat").label ? ` ${words.lastGood}` : "";
    const body = [el("b", {}, `${failure.title} `), ...prose(failure.message), kept, trace];
    return [note("err", "warn", body, [details, retry, dismiss])];
  };
  store.on(["trouble"], () => {
    const { kernel } = store.ui;
    const plain = kernel === "gone" ? words.noKernelNote : kernel === "busy" ? words.busyNote : null;
    root.replaceChildren(
      ...error(),
      ...(plain ? [note("", "info", [el("b", {}, plain[0] as string), plain[1] as string], [])] : []),
    );
  });
  return root;
}
