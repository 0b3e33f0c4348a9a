// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Fact, MethodRow, Plate, Thumb, Traits } from "../protocol.ts";
import { Store } from "../store.ts";
import { bytes, FakeHost } from "../testing/fake_model.ts";
import { judgement } from "../views/judgement.ts";
import { picture } from "../views/picture.ts";
import { regions } from "../views/regions.ts";
import { shell } from "../views/shell.ts";

let life = new AbortController();
let frames: (() => void)[] = [];
let painted: Uint8ClampedArray[] = [];

beforeEach(() => {
  life = new AbortController();
  document.body.replaceChildren();
  frames = [];
  vi.stubGlobal("requestAnimationFrame", (paint: () => void) => frames.push(paint));
  // What happy-dom lacks: a context that takes every call, paths and decoded pictures.
  painted = [];
  const pixels = {
    createImageData: image,
    getImageData: (_x: number, _y: number, w: number, h: number) => image(w, h),
    putImageData: (one: { data: Uint8ClampedArray }) => painted.push(one.data),
  };
  const context: object = new Proxy(pixels as never, {
    get: (target, key) => target[key as never] ?? (() => {}),
    set: () => true,
  });
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(context as never);
  vi.stubGlobal(
    "Path2D",
    class {
      moveTo(): void {}
      lineTo(): void {}
      closePath(): void {}
    },
  );
  vi.stubGlobal("createImageBitmap", async () => ({ close() {} }));
});
afterEach(() => {
  life.abort();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const image = (w: number, h: number): { data: Uint8ClampedArray } => ({ data: new Uint8ClampedArray(4 * w * h) });
/** Paint until nothing is left to paint; pictures are decoded in between. */
async function frame(): Promise<void> {
  while (frames.length) {
    for (const paint of frames.splice(0)) paint();
    await new Promise((done) => setTimeout(done));
  }
}

function make(state: Partial<Traits> = {}): { host: FakeHost; store: Store } {
  const host = new FakeHost(state);
  const store = new Store(host, life.signal);
  host.store = store;
  return { host, store };
}

async function show(state: Partial<Traits> = {}): Promise<{ host: FakeHost; store: Store; root: HTMLElement }> {
  const made = make(state);
  shell(document.body, made.store);
  await frame();
  return { ...made, root: document.body };
}

/** A picture of columns, each a region, with a map of them. */
function columns(width: number, height: number, id: number): Partial<Traits> {
  const labels = bytes(Uint16Array.from({ length: width * height }, (_, i) => i % width));
  const values = bytes(Float32Array.from({ length: width }, (_, r) => 0.01 * (r + 1)));
  const photo = (): DataView => bytes(Uint16Array.from([id]));
  return {
    picture: { width, height, mime: "image/png", data: photo(), off: photo() },
    regions: { width, height, count: width, labels },
    heat: {
      ...{ id, method: "lime", label: "LIME", target: 0, target_name: "cat", kind: "regions", note: "" },
      ...{ regions: values, errors: bytes(new Float32Array(0)), signed: true, unit: "probability" },
    },
    active: Array(width).fill(1),
    history: { states: [[]], at: 0 },
  };
}

function change(host: FakeHost, state: Partial<Traits>): void {
  Object.assign(host.state, state); // as a comm does: every value is there before the first listener hears of one
  for (const key of Object.keys(state)) host.store?.changed(key as keyof Traits);
}

const thumbs = (n: number): Thumb[] =>
  Array.from({ length: n }, (_, i) => ({
    mime: "image/png",
    data: bytes(Uint16Array.from([i])),
    label: `picture ${i + 1} of ${n}`,
    answer: i ? "espresso .95" : "",
  }));
const radios = (): HTMLInputElement[] => [...document.querySelectorAll<HTMLInputElement>(".thumbs input")];

const fact = (key: string, text: string): Fact => ({
  key,
  label: key,
  value: text,
  level: "",
  title: key,
  text: [text],
});
const layers = [
  { name: "layer3", label: "layer3 · 14 × 14" },
  { name: "layer4", label: "layer4 · 7 × 7" },
];
const chip = (key: string): HTMLElement =>
  [...document.querySelectorAll<HTMLElement>(".chip")].find((node) => node.textContent?.startsWith(key)) as HTMLElement;
const select = (): HTMLSelectElement | null => document.querySelector(".pop select");

test("the chip of the layer opens to a choice of layers, which is saved at once", async () => {
  const { host } = await show({ facts: [fact("input", "224"), fact("layer", "layer4")], layers });
  chip("layer").click();
  const node = select() as HTMLSelectElement;
  expect([...node.options].map((o) => [o.value, o.text])).toEqual([
    ["", "Automatic"],
    ["layer3", "layer3 · 14 × 14"],
    ["layer4", "layer4 · 7 × 7"],
  ]);
  expect(node.closest("label")?.textContent).toContain("Read at");
  expect(document.activeElement).toBe(node);
  node.value = "layer3";
  node.dispatchEvent(new Event("change"));
  expect(host.state.layer).toBe("layer3");
  expect(host.saves).toBe(1);
  chip("input").click();
  expect(select()).toBeNull();
});

test("the choice keeps popover and focus while the new map is found, and tells of the new layer", async () => {
  const { host } = await show({ facts: [fact("layer", "layer4")], layers });
  chip("layer").click();
  const node = select();
  change(host, { facts: [fact("layer", "layer3, by choice")], layer: "layer3" });
  await frame();
  expect(select()).toBe(node);
  expect(document.activeElement).toBe(node);
  expect(node?.value).toBe("layer3");
  expect(document.querySelector(".pop p")?.textContent).toBe("layer3, by choice");
  expect(chip("layer").textContent).toContain("layer3, by choice");
});

test("arrow keys in the choice are the select's own", async () => {
  await show({ facts: [fact("layer", "layer4")], layers });
  chip("layer").click();
  const down = new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true, cancelable: true });
  select()?.dispatchEvent(down);
  expect(down.defaultPrevented).toBe(false);
});

test("where the method reads no layer there is nothing to choose", async () => {
  const { host } = await show({ facts: [fact("layer", "layer4")] });
  chip("layer").click();
  expect(select()).toBeNull();
  delete host.state.layers; // a page saved by an older version
  change(host, { facts: [fact("layer", "layer4")] });
  await frame();
  expect(chip("layer")).toBeTruthy();
});

test("a batch has a strip with a named button for each picture, one picture has none", async () => {
  const { host } = await show({ pictures: thumbs(3), picked: 1 });
  expect(radios().map((input) => [input.getAttribute("aria-label"), input.checked])).toEqual([
    ["picture 1 of 3", false],
    ["picture 2 of 3, espresso .95", true],
    ["picture 3 of 3, espresso .95", false],
  ]);
  expect(document.querySelector<HTMLElement>(".thumbs")?.hidden).toBe(false);
  expect(radios()[1]?.parentElement?.title).toBe("picture 2 of 3, espresso .95");
  change(host, { pictures: [] });
  await frame();
  expect(document.querySelector<HTMLElement>(".thumbs")?.hidden).toBe(true);
});

test("a click, the arrows, Home and End pick a picture and save it", async () => {
  const { host } = await show({ pictures: thumbs(4) });
  const press = (key: string): void => {
    const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
    document.activeElement?.dispatchEvent(event);
  };
  radios()[2]?.click();
  expect([host.state.picked, host.saves]).toEqual([2, 1]);
  radios()[2]?.focus();
  const seen: unknown[] = [];
  for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "Home", "ArrowUp", "ArrowDown", "End"]) {
    press(key);
    seen.push(host.state.picked);
    expect(radios().indexOf(document.activeElement as HTMLInputElement)).toBe(host.state.picked);
  }
  expect(seen).toEqual([3, 3, 2, 0, 0, 1, 3]);
});

test("small pictures that come later are read once and leave the focus; without a kernel none can be picked", async () => {
  const read = vi.spyOn(URL, "createObjectURL");
  const late = thumbs(3).map((thumb, i) => (i ? { ...thumb, data: bytes(new Uint16Array(0)), answer: "" } : thumb));
  const { host, store } = await show({ pictures: late });
  expect(read).toHaveBeenCalledTimes(1);
  radios()[1]?.focus();
  change(host, { pictures: thumbs(3), picked: 1 });
  await frame();
  expect(read).toHaveBeenCalledTimes(3);
  expect(document.activeElement).toBe(radios()[1]);
  expect(radios()[1]?.getAttribute("aria-label")).toBe("picture 2 of 3, espresso .95");
  store.ui.kernel = "gone";
  store.touch("trouble");
  await frame();
  expect(radios().every((input) => input.disabled)).toBe(true);
});

test("each thumbnail gives its address back when it is read", async () => {
  const given = vi.spyOn(URL, "createObjectURL");
  const back = vi.spyOn(URL, "revokeObjectURL");
  await show({ pictures: thumbs(2) });
  const images = [...document.querySelectorAll<HTMLImageElement>(".thumbs img")];
  back.mockClear();
  images[0]?.dispatchEvent(new Event("load"));
  images[1]?.dispatchEvent(new Event("error"));
  expect(back.mock.calls.flat()).toEqual(given.mock.results.map((r) => r.value));
});

test("another picture has layers, rows and cut-outs of its own size and number", async () => {
  const { host, store } = make(columns(6, 4, 1));
  const { layers: canvas, nodes } = picture(store, document.body, "u");
  const list = regions(store, canvas, "u");
  document.body.append(...nodes, list);
  await frame();
  const rows = (): number[] => [...list.querySelectorAll(".row")].map((row) => row.querySelectorAll("img").length);
  const sizes = (): unknown[] => [canvas.photo, canvas.off, canvas.grey, canvas.heat].map((c) => [c?.width, c?.height]);
  expect(rows()).toEqual(Array(6).fill(1));
  expect(sizes()).toEqual(Array(4).fill([6, 4]));
  const cutouts = [...list.querySelectorAll(".row img")];

  change(host, columns(3, 5, 2));
  await frame();
  expect(painted.some((data) => data.length === 60 && data.every((v, i) => i % 4 < 3 || v > 0))).toBe(true);
  expect(rows()).toEqual(Array(3).fill(1));
  expect(sizes()).toEqual(Array(4).fill([3, 5]));
  expect(nodes[0]?.style.aspectRatio).toBe("3 / 5");
  expect([...list.querySelectorAll(".row img")].some((c) => cutouts.includes(c))).toBe(false);

  // The same size and number, too: what was cut out is not on this picture.
  const before = [...list.querySelectorAll(".row img")];
  change(host, columns(3, 5, 3));
  await frame();
  expect([...list.querySelectorAll(".row img")].some((c) => before.includes(c))).toBe(false);
});

test("until a picture and its regions are both there nothing of the last one is shown", async () => {
  const { host, store, root } = await show(columns(6, 4, 1));
  const ready = (): string | undefined => root.querySelector<HTMLElement>(".xw")?.dataset.ready;
  const next = columns(3, 5, 2);
  change(host, { picture: next.picture as Traits["picture"], heat: {} });
  await frame();
  expect(root.querySelector<HTMLElement>(".stage canvas")?.hidden).toBe(true);
  expect(root.querySelectorAll(".row")).toHaveLength(0);
  change(host, { regions: next.regions as Traits["regions"] });
  await frame();
  expect(root.querySelector<HTMLElement>(".stage canvas")?.hidden).toBe(false);
  expect(ready()).toBe(""); // happy-dom lays nothing out, so nothing is drawn
  change(host, { heat: columns(6, 4, 3).heat as Traits["heat"] });
  expect(store.evidence).toBeNull(); // a late map of the last picture
  change(host, { heat: next.heat as Traits["heat"] });
  expect(store.evidence?.order).toHaveLength(3);
});

test("what was pointed at, marked and asked on the last picture is forgotten; what was typed stays", async () => {
  const { host, store } = make(columns(6, 4, 1));
  const judged = judgement(store, "u");
  document.body.append(judged.node);
  const comment = judged.node.querySelector("textarea") as HTMLTextAreaElement;
  comment.value = "kept";
  Object.assign(store.ui, { hover: 5, focus: 5, marking: true, verdict: "mattered", rating: 4 });
  store.ui.marked.add(5);
  store.ui.tests.push({ label: "", regions: [5], predicted: 1, band: 0, measured: null });
  change(host, columns(3, 5, 2));
  await frame();
  const { hover, focus, marking, verdict, rating, marked, tests } = store.ui;
  expect([hover, focus, marking, verdict, rating, marked.size, tests]).toEqual([-1, -1, false, null, null, 0, []]);
  expect(judged.node.querySelectorAll("input:checked")).toHaveLength(0);
  expect(comment.value).toBe("kept");
});

test("a judgement that is stored after the picture has changed takes no mark of the new one away", async () => {
  const { host, store } = make(columns(6, 4, 1));
  let stored = (_: { done: boolean; payload: Record<string, unknown> }): void => {};
  host.request = () =>
    new Promise((done) => {
      stored = done as never;
    });
  const judged = judgement(store, "u");
  store.ui.verdict = "mattered";
  store.ui.marked.add(5);
  judged.submit();
  change(host, columns(3, 5, 2));
  store.ui.marked.add(1);
  stored({ done: true, payload: { created: "2026-01-01T00:00:00Z" } });
  await frame();
  expect(store.marks).toEqual([1]);
  expect(judged.node.querySelector(".saved")?.textContent).toContain("Saved");
});

const METHODS: MethodRow[] = [
  {
    ...{ name: "lime", label: "LIME", family: "Ask", cost: "100 calls, 2 s", summary: "Weights.", unfit: "" },
    params: [
      { name: "n_samples", kind: "int", default: 1000, low: 4, high: 9000, choices: [], help: "How many." },
      {
        name: "window",
        kind: "int",
        default: null,
        low: 1,
        high: null,
        choices: [],
        help: "Side. Default: a seventh.",
      },
      { name: "rule", kind: "str", default: "a", low: null, high: null, choices: ["a", "b"], help: "Which." },
    ],
  },
  { name: "gone", label: "No use", family: "Ask", cost: "", summary: "Never.", unfit: "Needs a gradient.", params: [] },
  { name: "rise", label: "RISE", family: "Ask", cost: "1 call", summary: "Masks.", unfit: "", params: [] },
];
const settingsButton = (): HTMLButtonElement =>
  document.querySelector<HTMLButtonElement>("[aria-label^=Settings]") as HTMLButtonElement;

test("the controls of a method are made from its parameters, and a change is sent at once", async () => {
  const params = { n_samples: 40, window: null, rule: "a" };
  const { host } = await show({ ...columns(4, 4, 1), methods: METHODS, params });
  settingsButton().click();
  const [samples, window] = [...document.querySelectorAll<HTMLInputElement>(".set input")];
  const rule = document.querySelector<HTMLSelectElement>(".set select");
  expect([samples?.value, samples?.min, samples?.max, samples?.required]).toEqual(["40", "4", "9000", true]);
  expect([window?.value, window?.placeholder, window?.required]).toEqual(["", "Automatic", false]);
  expect([...(rule?.options ?? [])].map((option) => option.value)).toEqual(["a", "b"]);
  if (!samples || !window || !rule) throw new Error("no controls");
  window.value = "9";
  window.onchange?.(new Event("change"));
  expect(host.state.params).toEqual({ window: 9 });
  rule.value = "b";
  rule.onchange?.(new Event("change"));
  expect(host.state.params).toEqual({ rule: "b" });
  window.value = "";
  window.onchange?.(new Event("change"));
  expect(host.state.params?.window).toBe(null);
  const sent = host.saves;
  samples.value = "";
  samples.onchange?.(new Event("change"));
  expect(host.saves).toBe(sent); // a number is required: nothing is sent until there is one
  [...document.querySelectorAll<HTMLButtonElement>(".pop .btn")].at(-1)?.click();
  expect(host.state.params).toEqual({ n_samples: 1000, window: null, rule: "a" });
  expect(samples.value).toBe("1000");
});

test("a method without parameters has no settings", async () => {
  const { host } = await show({ ...columns(4, 4, 1), methods: METHODS, method: "rise" });
  expect(settingsButton().hidden).toBe(true);
  change(host, { method: "lime" });
  await frame();
  expect(settingsButton().hidden).toBe(false);
});

test("methods are found by name; those that cannot run come last and say why", async () => {
  const { host } = await show({ ...columns(4, 4, 1), methods: METHODS });
  document.querySelectorAll<HTMLButtonElement>("button.pick")[1]?.click();
  const names = (): (string | null | undefined)[] =>
    [...document.querySelectorAll(".menu .it")].map((row) => row.querySelector(".l")?.textContent);
  expect(names()).toEqual(["LIME", "RISE", "No use"]);
  expect(document.querySelector(".menu .it[aria-disabled]")?.textContent).toContain("Needs a gradient.");
  const search = document.querySelector<HTMLInputElement>(".menu .srch") as HTMLInputElement;
  search.value = "ris";
  search.dispatchEvent(new Event("input"));
  expect(names()).toEqual(["RISE"]);
  search.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  expect(host.state.method).toBe("rise");
});

test("what a method drew is shown with its captions and goes with it; its map is none", async () => {
  const plate = (caption: string): Plate => ({ mime: "image/png", data: bytes(Uint16Array.from([1])), caption });
  const base = columns(4, 4, 1);
  const heat = { ...base.heat, kind: "none", label: "Units", regions: bytes(new Float32Array(4)) } as Traits["heat"];
  const { host } = await show({ ...base, heat, gallery: [plate("channel <b>1</b>"), plate("channel 2")] });
  expect([...document.querySelectorAll("figcaption")].map((each) => each.textContent)).toEqual([
    "channel <b>1</b>",
    "channel 2",
  ]);
  expect(document.querySelector(".sum")?.textContent).toBe(
    "Units draws pictures, below, and lays no map over the photo.",
  );
  document.querySelector<HTMLButtonElement>(".plates button")?.click();
  expect(document.querySelector<HTMLImageElement>(".pop .big")?.alt).toBe("channel <b>1</b>");
  change(host, { gallery: [] });
  await frame();
  expect(document.querySelector<HTMLElement>(".plates")?.hidden).toBe(true);
  expect(document.querySelector(".pop")).toBe(null);
});

// ---- while a map is found ---------------------------------------------------------------------------------------------

const button = (name: string): HTMLButtonElement | undefined =>
  [...document.querySelectorAll<HTMLButtonElement>(".run button")].find((node) => node.textContent === name);
const strip = (): string | null | undefined => document.querySelector(".run .txt")?.textContent;
const said = (): string | null | undefined => document.querySelector("[aria-live]")?.textContent;
const heatOf = (id: number, ...values: number[]): Traits["heat"] => ({
  ...columns(values.length, 4, id).heat,
  regions: bytes(Float32Array.from(values)),
});
const progress = (done: number, total: number, more = 0, settled = false): Traits["progress"] => ({
  ...{ done, total, more, settled },
  left: 3,
});

test("the run strip says what is going on, offers to stop and to refine, and speaks up only at the end", async () => {
  const { host } = await show({
    ...columns(4, 4, 1),
    methods: METHODS,
    status: "running",
    progress: progress(340, 1000),
  });
  expect([strip(), button("Stop")?.hidden, button("Refine")?.hidden]).toEqual(["340 of 1,000 · 3 s left", false, true]);
  const bar = document.querySelector("[role=progressbar]");
  expect([bar?.getAttribute("aria-label"), bar?.getAttribute("aria-valuenow")]).toEqual([
    "Finding the map of LIME",
    "34",
  ]);
  expect(document.querySelector(".run")?.closest("[role=status],[aria-live]")).toBeNull();
  change(host, { progress: progress(360, 1000) });
  await frame();
  expect([strip(), said()]).toEqual(["360 of 1,000 · 3 s left", ""]);
  change(host, { status: "stopped", progress: progress(370, 1000, 1000) });
  await frame();
  expect(strip()).toBe("Stopped at 370 of 1,000; the map so far");
  expect(said()).toBe(strip());
  expect([button("Stop")?.hidden, button("Refine")?.hidden, button("Refine")?.title]).toEqual([
    true,
    false,
    "Go on to 1,000 altered pictures",
  ]);
  button("Refine")?.click();
  button("Stop")?.click();
  expect(host.requests).toEqual(["more", "stop"]);
  change(host, {
    status: "idle",
    progress: progress(340, 1000, 680, true),
    heat: { ...host.state.heat, seconds: 2.2 },
  });
  await frame();
  expect(strip()).toBe("Settled after 340 of 1,000 pictures · 2 s");
  change(host, { progress: { done: 0, total: 0, left: -1 } }); // a page of an older version
  await frame();
  expect([button("Stop")?.hidden, button("Refine")?.hidden]).toEqual([true, true]);
});

test("stop and refine hand the focus to each other, and without a kernel there is nothing to ask", async () => {
  const { host, store } = await show({ ...columns(4, 4, 1), status: "stopped", progress: progress(30, 100, 100) });
  button("Refine")?.focus();
  change(host, { status: "running", progress: progress(30, 100) });
  await frame();
  expect(document.activeElement).toBe(button("Stop"));
  change(host, { status: "stopped", progress: progress(40, 100, 100) });
  await frame();
  expect(document.activeElement).toBe(button("Refine"));
  change(host, { status: "running", progress: progress(40, 100) });
  await frame();
  change(host, { status: "idle", progress: progress(100, 100) });
  await frame();
  expect(document.activeElement).toBe(document.querySelectorAll(".pick")[1]);
  change(host, { progress: progress(100, 100, 200) });
  store.ui.kernel = "gone";
  store.touch("status");
  await frame();
  expect(button("Refine")?.disabled).toBe(true);
});

test("a map in the meantime bears its own name, on the picture while the other is found and beside it after", async () => {
  const heat = { ...heatOf(1, 0.1, 0.2, 0.3, 0.4), method: "gradcam", label: "Grad-CAM", preview: true };
  const { host, store } = await show({
    ...columns(4, 4, 1),
    heat,
    methods: METHODS,
    status: "running",
    active: [1, 1, 1, 1],
  });
  const hint = document.querySelector<HTMLElement>(".hint");
  const warning = document.querySelector<HTMLElement>(".warnline");
  expect([hint?.hidden, hint?.textContent]).toEqual([false, "Grad-CAM, while LIME is being found"]);
  expect(warning?.textContent).toBe("");
  expect(document.querySelector(".xw")?.getAttribute("aria-label")).toBe("Why cat? According to Grad-CAM.");
  expect(document.querySelectorAll(".pick")[1]?.textContent).toContain("LIME");
  change(host, { status: "stopped", progress: progress(10, 1000, 1000) });
  await frame();
  expect(hint?.hidden).toBe(true);
  expect(warning?.textContent).toBe("This is Grad-CAM; there is no map of LIME yet.");
  expect(strip()).toBe("Stopped before there was a map");
  store.ui.verdict = "mattered"; // the whole map: but of which?
  store.touch("marks");
  await frame();
  const submit = document.querySelector<HTMLButtonElement>(".btn.pri");
  expect(submit?.disabled).toBe(true);
  store.ui.marked.add(1); // regions are of the picture, not of the map
  store.touch("marks");
  await frame();
  expect(submit?.disabled).toBe(false);
  store.ui.marked.clear();
  change(host, { heat: heatOf(2, 0.1, 0.2, 0.3, 0.4), status: "running" });
  await frame();
  expect([hint?.hidden, warning?.textContent, submit?.disabled]).toEqual([true, "", false]);
});

test("rows stay the same elements while a map is refined, in the order of their strength", async () => {
  const { host, store } = await show({
    ...columns(4, 4, 1),
    heat: heatOf(1, 0.4, 0.3, 0.2, 0.1),
    active: [1, 1, 1, 1],
  });
  const list = document.querySelector<HTMLElement>(".list") as HTMLElement;
  const rows = (): HTMLElement[] => [...list.querySelectorAll<HTMLElement>(".row")];
  const order = (): number[] => rows().map((row) => Number(row.dataset.n));
  const first = rows();
  expect(order()).toEqual([0, 1, 2, 3]);
  list.focus();
  store.focus(1);
  await frame();
  const moved: Node[] = [];
  const watcher = new MutationObserver((records) => {
    for (const { addedNodes, target } of records) if (target === list) moved.push(...addedNodes);
  });
  watcher.observe(list, { childList: true });
  change(host, { heat: heatOf(2, 0.4, 0.3, 0.1, 0.2) });
  await frame();
  expect(order()).toEqual([0, 1, 3, 2]);
  expect(new Set(rows())).toEqual(new Set(first));
  expect(moved).toHaveLength(1); // no more than had to
  expect(document.activeElement).toBe(list);
  expect(list.getAttribute("aria-activedescendant")).toBe(first[1]?.id);
  expect(first[3]?.querySelector(".rv")?.textContent).toContain("+20");
  expect(first[3]?.textContent).toContain("rank 3");

  list.dispatchEvent(new Event("pointerenter"));
  change(host, { heat: heatOf(3, 0.1, 0.2, 0.3, 0.4) });
  await frame();
  expect(order()).toEqual([0, 1, 3, 2]); // nothing moves away under the pointer
  expect(first[3]?.querySelector(".rv")?.textContent).toContain("+40");
  list.dispatchEvent(new Event("pointerleave"));
  await frame();
  expect(order()).toEqual([3, 2, 1, 0]);
  list.dispatchEvent(new Event("pointerenter"));
  change(host, { heat: { ...heatOf(4, 0.4, 0.3, 0.2, 0.1), method: "rise" } });
  await frame();
  expect(order()).toEqual([0, 1, 2, 3]); // another map altogether
  watcher.disconnect();
});

test("a chip that comes or goes leaves the others, their focus and what they have opened", async () => {
  const { host } = await show({ facts: [fact("input", "224"), fact("off", "grey")] });
  chip("off").focus();
  chip("off").click();
  const pop = document.querySelector(".pop");
  const off = chip("off");
  change(host, { facts: [fact("input", "224"), fact("ranking", "open"), fact("off", "black")] });
  await frame();
  expect(chip("off")).toBe(off);
  expect([...document.querySelectorAll(".chip")].map((node) => node.textContent)).toEqual([
    "input224",
    "rankingopen",
    "offblack",
  ]);
  expect(document.querySelector(".pop")).toBe(pop);
  expect(pop?.querySelector("p")?.textContent).toBe("black");
  change(host, { facts: [fact("input", "224"), fact("ranking", "open")] });
  await frame();
  expect(document.querySelector(".pop")).toBeNull();
});

test("what was promised and measured is written once, not with every better map", async () => {
  const { host, store } = await show({ ...columns(4, 4, 1), active: [1, 1, 1, 1] });
  Object.assign(host.state.heat, { additive: true });
  store.ui.tests.push({ label: "Region 1 off", regions: [1], predicted: 1, band: 0, measured: 2 });
  store.touch("answer");
  await frame();
  const table = document.querySelector(".tests [role=table]");
  expect(table).toBeTruthy();
  change(host, { heat: { ...host.state.heat, id: 2 } });
  await frame();
  expect(document.querySelector(".tests [role=table]")).toBe(table);
});
