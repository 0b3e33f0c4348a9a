/** Elements in one call. Strings always become text, never markup. */

type Child = Node | string | number | null | undefined | false;
type Props = Record<string, unknown>;

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: (Child | Child[])[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  // A button inside somebody's form must not submit it.
  if (tag === "button") (node as unknown as HTMLButtonElement).type = "button";
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") node.className = String(value);
    else if (typeof value === "function" || (key in node && key !== "list" && key !== "style")) {
      (node as unknown as Props)[key] = value;
    } else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(
    ...children
      .flat()
      .filter((c): c is Node | string | number => c !== null && c !== undefined && c !== false)
      .map((c) => (typeof c === "number" ? String(c) : c)),
  );
  return node;
}

/** Change a text only where it is another one: whoever reads it aloud would begin anew. */
export function write(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** Make `nodes` the children, in this order; those that are there already, and what has the focus, stay. */
export function arrange(parent: Element, nodes: Element[]): void {
  const wanted = new Set(nodes);
  for (const node of [...parent.children]) if (!wanted.has(node)) node.remove();
  let at = parent.firstElementChild;
  for (const node of nodes) {
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
}

/** The two elements that are made most, by their class. */
export const span = (kind: string, ...children: (Child | Child[])[]): HTMLSpanElement =>
  el("span", { class: kind }, ...children);
export const div = (kind: string, ...children: (Child | Child[])[]): HTMLDivElement =>
  el("div", { class: kind }, ...children);

/** What a button says that opens a popover. */
export const opens = { "aria-haspopup": "dialog", "aria-expanded": "false" };

/** Shapes on a 16-pixel square, stroked in the colour of the text around them. */
const SHAPES = {
  chevron: "M4 6l4 4 4-4",
  right: "M6 4l4 4-4 4",
  stop: "M4.5 4.5h7v7h-7z",
  help: "M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0M6.3 6.4a1.7 1.7 0 1 1 2.5 1.5c-.6.3-.8.6-.8 1.3M8 11.4v.1",
  info: "M13.5 8a5.5 5.5 0 1 1-11 0 5.5 5.5 0 0 1 11 0M8 7.400v3.200M8 5.200v.1",
  undo: "M5.5 3L2.5 6l3 3M2.5 6h7a3.8 3.8 0 0 1 0 7.500H6",
  redo: "M10.5 3l3 3-3 3M13.5 6h-7a3.8 3.8 0 0 0 0 7.500H10",
  reset: "M3 8a5 5 0 1 0 1.6-3.700L3 5.800M3 2.600v3.200h3.2",
  check: "M3.5 8.500l3 3 6-7",
  close: "M4 4l8 8M12 4l-8 8",
  warn: "M8 2.500l6 11H2zM8 6.500v3M8 11.600v.1",
  ban: "M13.5 8a5.5 5.5 0 1 1-11 0 5.5 5.5 0 0 1 11 0M4.1 4.100l7.8 7.8",
  question: "M5.6 5.800A2.4 2.4 0 1 1 9 8c-.8.4-1 .9-1 1.700M8 12.400v.1",
  region: "M2.5 6.500L7 2.500l6.5 3-1.5 7-7 1zM7 2.500L8 8l5.5-2.500M8 8l-3 5.5",
  minus: "M3.5 8h9",
  fit: "M6 3H3v3M10 3h3v3M6 13H3v-3M10 13h3v-3M6.5 6.500h3v3h-3z",
  full: "M9.5 3H13v3.500M13 3L9 7M6.5 13H3V9.500M3 13l4-4",
  plus: "M8 3.500v9M3.5 8h9",
  sliders:
    "M2.5 5h6M12.5 5h1M2.5 11h1M7.5 11h6M12.500 5a2 2 0 1 1-4 0 2 2 0 0 1 4 0M7.500 11a2 2 0 1 1-4 0 2 2 0 0 1 4 0",
  trash: "M3 4.500h10M6.5 4.500v-2h3v2M4.5 4.500l.6 9h5.800l.6-9",
} as const;

export type IconName = keyof typeof SHAPES;

export function icon(name: IconName): SVGSVGElement {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  const path = document.createElementNS(ns, "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "i");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", SHAPES[name]);
  if (name === "stop") path.setAttribute("fill", "currentColor");
  svg.append(path);
  return svg;
}

/** A group of radio buttons that looks like one control; returns the element and a function that sets the choice. */
export function segmented<T extends string | number>(
  label: string,
  name: string,
  options: { value: T; label: string; icon?: IconName; count?: HTMLElement }[],
  choose: (value: T) => void,
): { node: HTMLElement; set(value: T | null): void } {
  const inputs = new Map<T, HTMLInputElement>();
  const node = el(
    "div",
    { class: "seg", role: "radiogroup", "aria-label": label },
    options.map((option) => {
      const input = el("input", { type: "radio", name, onchange: () => choose(option.value) });
      input.value = String(option.value);
      inputs.set(option.value, input);
      return el("label", {}, input, option.icon && icon(option.icon), option.label, option.count);
    }),
  );
  return {
    node,
    set(value) {
      for (const [key, input] of inputs) input.checked = key === value;
    },
  };
}

/** Options and choice of a select; it may be open, so it is left alone where nothing changed. */
export function choices(node: HTMLSelectElement, options: [value: string, label: string][], value: string): void {
  const key = options.join("\n");
  if (node.dataset.key !== key) {
    node.dataset.key = key;
    node.replaceChildren(...options.map(([value, label]) => el("option", { value }, label)));
  }
  node.value = value;
}

/** A heading and plain words under it, as popovers have them. */
export const told = (title: string, texts: readonly string[]): HTMLElement[] => [
  el("h4", {}, title),
  ...texts.map((text) => el("p", {}, text)),
];

/** A canvas of its own, for layers that are painted once and drawn often. */
export function layer(width: number, height: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

export function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  return canvas.getContext("2d") as CanvasRenderingContext2D;
}
