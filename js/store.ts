/**
 * What a view knows. Two kinds of state are kept apart: traits, shared with the kernel and every other view, and `ui`,
 * which belongs to this view alone. Changes name topics; painters that listen to a topic run once in the next frame.
 */

import { float32, uint16 } from "./lib/bytes.ts";
import { makeRamps, type Ramp, type Ramps, rampFor } from "./lib/color.ts";
import { Evidence } from "./lib/evidence.ts";
import { type Place, places } from "./lib/geometry.ts";
import { present, push, step } from "./lib/history.ts";
import { type Part, WHOLE } from "./lib/part.ts";
import { bandOf, promise, type Test } from "./lib/word.ts";
import type { Heat, MethodRow, Request, Traits, Verdict } from "./protocol.ts";
import * as words from "./words.ts";

export type Topic =
  | "picture"
  | "heat"
  | "answer"
  | "looks"
  | "opacity"
  | "point"
  | "part"
  | "marks"
  | "status"
  | "trouble"
  | "facts"
  | "batch"
  | "gallery"
  | "list";

/** Nothing on show stays as it is when the picture is another one. */
const ALL_OF_IT: Topic[] = ["picture", "heat", "answer", "point", "part", "marks"];

/** Which topics a changed trait touches. */
const TOUCHES: Record<keyof Traits, Topic[]> = {
  picture: ALL_OF_IT,
  regions: ALL_OF_IT,
  heat: ["heat"],
  prediction: ["answer"],
  class_names: ["heat", "answer"],
  methods: ["status"],
  status: ["status"],
  progress: ["status"],
  error: ["trouble", "answer"],
  facts: ["facts"],
  feedback: ["marks"],
  store: ["marks"],
  target: ["heat", "answer", "status"],
  method: ["status", "heat"],
  active: ["answer"],
  history: ["answer"],
  opacity: ["opacity"],
  threshold: ["looks"],
  colormap: ["looks"],
  sign: ["looks"],
  layers: ["facts"],
  layer: ["facts"],
  pictures: ["batch"],
  picked: ["batch"],
  gallery: ["gallery"],
  params: ["status"],
};
export const TRAITS = Object.keys(TOUCHES) as (keyof Traits)[];

/** The widget's side of the comm, as `widget.ts` provides it. */
export interface Host {
  get<K extends keyof Traits>(key: K): Traits[K];
  set<K extends keyof Traits>(key: K, value: Traits[K]): void;
  save(): void;
  /** Resolves with the answer; without a kernel it never does. */
  request(kind: Request, payload?: object): Promise<{ done: boolean; payload: Record<string, unknown> }>;
}

export type Kernel = "ready" | "busy" | "gone";
export type Saving =
  | { state: "none" }
  | { state: "saving" }
  | { state: "saved"; at: string }
  | { state: "failed"; why: string };

export class Store {
  readonly ui = {
    view: "heat" as "heat" | "evidence" | "photo",
    peek: false,
    outlines: false,
    /** At which share of the bar the colours end. */
    reach: 1,
    /** Which part of the picture is on show. */
    part: WHOLE as Part,
    hideUnclear: false,
    filter: "all" as "all" | "for" | "against" | "unclear" | "off",
    find: "",
    hover: -1,
    focus: -1,
    marking: false,
    /** Nothing is chosen for the map beforehand: a default would be an answer that nobody gave. */
    verdict: null as Verdict | null,
    marked: new Set<number>(),
    rating: null as number | null,
    saving: { state: "none" } as Saving,
    kernel: "ready" as Kernel,
    tests: [] as Test[],
    said: "",
  };
  #ramps: Ramps | null = null;
  #painters: { topics: Topic[]; paint: () => void }[] = [];
  #dirty = new Set<Topic>();
  #frame = 0;
  #heat: unknown = null;
  #evidence: Evidence | null = null;
  #labels: { source: unknown; labels: Uint16Array; places: Place[] } | null = null;
  #asked: Float32Array | null = null;
  #patience: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly host: Host,
    readonly signal: AbortSignal,
  ) {
    signal.addEventListener("abort", () => {
      cancelAnimationFrame(this.#frame);
      clearTimeout(this.#patience);
      this.#painters = [];
    });
  }

  // ---- painting ----------------------------------------------------------------------------------------------------

  /** Run `paint` in the next frame after any of the topics changed, and once now. */
  on(topics: Topic[], paint: () => void): void {
    this.#painters.push({ topics, paint });
    this.touch(...topics);
  }

  touch(...topics: Topic[]): void {
    for (const topic of topics) this.#dirty.add(topic);
    if (this.#frame || this.signal.aborted) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const dirty = this.#dirty;
      this.#dirty = new Set();
      for (const { topics: mine, paint } of this.#painters) if (mine.some((t) => dirty.has(t))) paint();
    });
  }

  /** A trait changed, here or in the kernel. */
  changed(key: keyof Traits): void {
    if (key === "heat") this.#onHeat();
    if (key === "prediction") this.#onAnswer();
    if (key === "error") clearTimeout(this.#patience); // there is an answer, if not the one hoped for
    if (key === "picture" || key === "regions") this.#forget();
    this.touch(...TOUCHES[key]);
  }

  // ---- what can be derived -----------------------------------------------------------------------------------------

  /** What the map says; nothing while it is still the map of a picture with other regions. */
  get evidence(): Evidence | null {
    const heat = this.host.get("heat");
    if (heat !== this.#heat) {
      this.#heat = heat;
      this.#evidence = heat.regions ? new Evidence(heat as Heat) : null;
    }
    return this.#evidence?.values.length === this.host.get("regions").count ? this.#evidence : null;
  }

  get ramp(): Ramp {
    this.#ramps ??= makeRamps();
    return rampFor(this.#ramps, this.host.get("colormap"), this.evidence?.signed ?? true);
  }

  get ramps(): Ramps {
    this.#ramps ??= makeRamps();
    return this.#ramps;
  }

  /** What colour a value has, as `Evidence.level` counts it. */
  level(v: number): number {
    return this.evidence?.level(v, this.ui.reach) ?? 0;
  }

  /** Labels and places of the regions; empty until the picture is there. */
  get regions(): { labels: Uint16Array; places: Place[]; width: number; height: number; count: number } {
    const { labels, width = 0, height = 0, count = 0 } = this.host.get("regions");
    if (!this.#labels || this.#labels.source !== labels) {
      const decoded = uint16(labels);
      this.#labels = { source: labels, labels: decoded, places: places(decoded, width, height, count) };
    }
    return { labels: this.#labels.labels, places: this.#labels.places, width, height, count };
  }

  get before(): Float32Array {
    return float32(this.host.get("prediction").before);
  }

  get now(): Float32Array {
    return float32(this.host.get("prediction").now);
  }

  get target(): [number, number | null] {
    const target = this.host.get("target");
    return Array.isArray(target) ? target : [target ?? -1, null];
  }

  isOff(r: number): boolean {
    return this.host.get("active")[r] === 0;
  }

  get off(): number[] {
    return this.host.get("active").flatMap((on, r) => (on ? [] : [r]));
  }

  /** Whether the model's answer to the present switches is still to come. */
  get asking(): boolean {
    const answered = this.host.get("prediction").off;
    return answered !== undefined && answered.join() !== this.off.join();
  }

  className(index: number): string {
    return this.host.get("class_names")[index] ?? "";
  }

  /** What the map on show speaks of; not yet what was asked for, while that is still being found. */
  get mapName(): string {
    return this.host.get("heat").target_name ?? this.targetName;
  }

  /** Whether the map on show is another one than was asked for. */
  get stale(): boolean {
    const { id, method, target } = this.host.get("heat");
    return (
      id !== undefined && (method !== this.host.get("method") || String(target) !== String(this.host.get("target")))
    );
  }

  /** The regions marked for the judgement. */
  get marks(): number[] {
    return [...this.ui.marked].sort((a, b) => a - b);
  }

  /** What was chosen to explain with. */
  get method(): MethodRow | undefined {
    return this.host.get("methods").find((row) => row.name === this.host.get("method"));
  }

  /** What a map is that is only shown in the meantime; empty of one that was asked for. */
  get preview(): string {
    const { preview, label = "" } = this.host.get("heat");
    const method = this.method?.label ?? this.host.get("method");
    return preview ? words.preview(label, method, this.host.get("status") === "running") : "";
  }

  get targetName(): string {
    const [a, b] = this.target;
    if (a < 0) return this.host.get("heat").target_name ?? "";
    return b === null ? this.className(a) : words.ratherThan(this.className(a), this.className(b));
  }

  /** The explained number of an answer: a class, or the lead of one over the other. */
  scoreOf(answer: Float32Array): number {
    const [a, b] = this.target;
    return (answer[a] ?? 0) - (b === null ? 0 : (answer[b] ?? 0));
  }

  // ---- gestures ----------------------------------------------------------------------------------------------------

  /** A choice that the kernel is to hear of at once. */
  choose<K extends keyof Traits>(key: K, value: Traits[K]): void {
    this.host.set(key, value);
    this.host.save();
  }

  say(text: string): void {
    this.ui.said = text;
    this.touch("status");
  }

  toggle(r: number): void {
    const off = this.isOff(r) ? this.off.filter((other) => other !== r) : [...this.off, r].sort((a, b) => a - b);
    this.switchTo(off, true);
  }

  allOn(): void {
    if (this.off.length) this.switchTo([], false);
  }

  /** A new state of the switches, from a gesture of this view; `test` keeps a row of promise and answer. */
  switchTo(off: number[], test: boolean): void {
    if (this.ui.kernel === "gone") {
      this.say(words.noKernelSwitch);
      return;
    }
    const changed = this.#changed(off);
    if (test) this.#openTest(changed, new Set(off));
    else this.#dropOpenTest();
    this.#apply(push(this.host.get("history"), off));
  }

  travel(by: number): void {
    const history = this.host.get("history");
    const moved = step(history, by);
    if (moved.at === history.at || this.ui.kernel === "gone") return;
    this.#dropOpenTest();
    this.#apply(moved);
  }

  point(r: number): void {
    if (this.ui.hover === r) return;
    this.ui.hover = r;
    this.touch("point");
  }

  focus(r: number): void {
    this.ui.focus = r;
    this.touch("point");
  }

  /** Look at another part of the picture. */
  look(part: Part): void {
    this.ui.part = part;
    this.touch("part");
  }

  #apply(history: Traits["history"]): void {
    const off = new Set(present(history));
    const active = this.host.get("active").map((_, r) => (off.has(r) ? 0 : 1));
    this.host.set("history", history);
    this.host.set("active", active);
    this.host.save();
    this.#lookForAnswer("busy", 1500);
  }

  /** A kernel that runs another cell takes its time, and one that is gone takes for ever: say so, one after the other. */
  #lookForAnswer(otherwise: Kernel, after: number): void {
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => {
      if (!this.asking || this.ui.kernel === "gone") return;
      this.ui.kernel = otherwise;
      this.touch("status", "trouble", "marks");
      if (otherwise === "busy") this.#lookForAnswer("gone", 8500);
    }, after);
  }

  // ---- promises and answers ----------------------------------------------------------------------------------------

  get promises(): boolean {
    const heat = this.host.get("heat");
    return Boolean(heat.additive && heat.unit === "probability" && this.target[0] >= 0 && !this.stale);
  }

  #changed(off: number[]): number[] {
    const next = new Set(off);
    return this.host.get("active").flatMap((on, r) => (Boolean(on) === next.has(r) ? [r] : []));
  }

  #openTest(changed: number[], off: Set<number>): void {
    const evidence = this.evidence;
    if (!this.promises || !evidence || !changed.length) return;
    const open = this.#dropOpenTest(); // its question was overtaken: one question, one row
    this.#asked ??= this.now;
    const regions = [...changed, ...(open?.regions.filter((r) => !changed.includes(r)) ?? [])];
    const predicted = promise(evidence, changed, (r) => off.has(r)) + (open?.predicted ?? 0);
    const label = words.switched(regions, off.has(changed[0] as number));
    this.ui.tests.unshift({ label, regions, predicted, band: bandOf(evidence, regions), measured: null });
  }

  #dropOpenTest(): Test | undefined {
    const open = this.ui.tests[0];
    if (open?.measured !== null || !open) return undefined;
    return this.ui.tests.shift();
  }

  #onAnswer(): void {
    const open = this.ui.tests[0];
    if (this.asking) return;
    clearTimeout(this.#patience);
    if (open && open.measured === null && this.#asked) {
      open.measured = (this.scoreOf(this.now) - this.scoreOf(this.#asked)) * 100;
      this.say(words.answered(open, this.targetName, this.scoreOf(this.now)));
    }
    this.#asked = null;
  }

  /** Another picture: what was pointed at, marked or asked on the last one is not about this one. Typed text stays. */
  #forget(): void {
    const { ui } = this;
    const saving: Saving = ui.saving.state === "saving" ? ui.saving : { state: "none" };
    const marked = new Set<number>(); // a judgement on its way clears its own set, not this one
    const fresh = {
      hover: -1,
      focus: -1,
      part: WHOLE,
      marking: false,
      verdict: null,
      rating: null,
      tests: [],
      said: "",
    };
    Object.assign(ui, fresh, { marked, saving });
    this.#asked = null;
  }

  #onHeat(): void {
    const heat = this.host.get("heat");
    const before = this.#heat as Partial<Heat> | null;
    if (!before || before.method !== heat.method || String(before.target) !== String(heat.target)) {
      this.ui.tests = [];
    }
  }
}
