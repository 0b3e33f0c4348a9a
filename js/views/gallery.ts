/** What the method drew, below the picture: what units see, each with its caption; a click enlarges. */
import { blob } from "../lib/bytes.ts";
import { el, opens } from "../lib/dom.ts";
import type { Plate } from "../protocol.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import type { Popovers } from "./popover.ts";

export function gallery(store: Store, popovers: Popovers): HTMLElement {
  const node = el("div", { class: "plates", role: "group" });
  let urls: string[] = [];
  let shown: Plate[] | undefined;
  const forget = (): void => {
    for (const url of urls) URL.revokeObjectURL(url);
    urls = [];
  };
  store.signal.addEventListener("abort", forget);

  const plate = ({ caption }: Plate, i: number): HTMLElement => {
    const src = urls[i] as string;
    const button = el("button", { ...opens, "aria-label": words.enlarge(caption) }, el("img", { src, alt: "" }));
    button.onclick = () =>
      popovers.toggle(button, caption, (pop) => pop.append(el("img", { class: "big", src, alt: caption })));
    return el("figure", {}, button, el("figcaption", {}, caption));
  };
  store.on(["gallery", "heat"], () => {
    const plates = store.host.get("gallery") ?? [];
    node.hidden = !plates.length;
    node.setAttribute("aria-label", words.gallery(store.host.get("heat").label ?? ""));
    if (plates === shown) return;
    shown = plates;
    popovers.closeIn(node);
    forget();
    urls = plates.map(({ data, mime }) => URL.createObjectURL(blob(data, mime)));
    node.replaceChildren(...plates.map(plate));
  });
  return node;
}
