import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { push, step } from "../lib/history.ts";
import { Store } from "../store.ts";
import { bytes, FakeHost } from "../testing/fake_model.ts";

const floats = (...values: number[]): DataView => bytes(Float32Array.from(values));

function make(): { host: FakeHost; store: Store; life: AbortController } {
  const life = new AbortController();
  const host = new FakeHost({
    active: [1, 1, 1],
    regions: { count: 3 },
    prediction: { before: floats(0.6, 0.4), now: floats(0.6, 0.4), off: [] },
    class_names: ["cat", "dog"],
    heat: {
      id: 1,
      method: "lime",
      label: "LIME",
      target: 0,
      kind: "regions",
      regions: floats(0.1, 0.05, -0.02),
      errors: floats(0.01, 0.01, 0.01),
      signed: true,
      additive: true,
      unit: "probability",
    },
  });
  const store = new Store(host, life.signal);
  host.store = store;
  return { host, store, life };
}

let frames: (() => void)[] = [];
beforeEach(() => {
  frames = [];
  vi.stubGlobal("requestAnimationFrame", (paint: () => void) => frames.push(paint));
  vi.stubGlobal("cancelAnimationFrame", () => {
    frames = [];
  });
});
afterEach(() => vi.unstubAllGlobals());
const frame = (): void => {
  for (const paint of frames.splice(0)) paint();
};
const answer = (host: FakeHost, off: number[], ...now: number[]): void =>
  host.set("prediction", { before: floats(0.6, 0.4), now: floats(...now), off });

test("a toggle is one save of state and history, and no message", () => {
  const { host, store } = make();
  store.toggle(1);
  expect(host.state.active).toEqual([1, 0, 1]);
  expect(host.state.history).toEqual({ states: [[], [1]], at: 1 });
  expect(host.saves).toBe(1);
  expect(host.requests).toEqual([]);
  expect(store.asking).toBe(true);
});

test("undo and redo walk through the states; a new gesture forgets what was undone", () => {
  const { host, store } = make();
  store.toggle(1);
  store.toggle(2);
  store.travel(-1);
  expect(store.off).toEqual([1]);
  store.travel(1);
  expect(store.off).toEqual([1, 2]);
  store.travel(-2);
  store.toggle(0);
  expect(host.state.history).toEqual({ states: [[], [0]], at: 1 });
});

test("promise and answer stand side by side, in points", () => {
  const { host, store } = make();
  store.toggle(0);
  expect(store.ui.tests[0]).toMatchObject({ label: "Region 0 off", measured: null });
  expect(store.ui.tests[0]?.predicted).toBeCloseTo(-10, 4);
  answer(host, [0], 0.45, 0.55);
  expect(store.ui.tests[0]?.measured).toBeCloseTo(-15, 4);
});

test("a question that was overtaken joins the next: one answer, one row", () => {
  const { host, store } = make();
  store.toggle(0);
  store.toggle(1);
  expect(store.ui.tests).toHaveLength(1);
  expect(store.ui.tests[0]?.predicted).toBeCloseTo(-15, 4);
  answer(host, [0], 0.5, 0.5); // late, and no longer the question
  expect(store.ui.tests[0]?.measured).toBeNull();
  answer(host, [0, 1], 0.4, 0.6);
  expect(store.ui.tests[0]?.measured).toBeCloseTo(-20, 4);
});

test("undoing drops an unanswered question", () => {
  const { store } = make();
  store.toggle(0);
  store.travel(-1);
  expect(store.ui.tests).toEqual([]);
});

test("another method or class starts the score anew, a better map of the same does not", () => {
  const { host, store } = make();
  void store.evidence;
  store.toggle(0);
  answer(host, [0], 0.5, 0.5);
  host.set("heat", { ...host.state.heat, id: 2 });
  void store.evidence;
  expect(store.ui.tests).toHaveLength(1);
  host.set("heat", { ...host.state.heat, id: 3, method: "kernel_shap" });
  expect(store.ui.tests).toEqual([]);
});

test("without a kernel nothing is switched and the reader is told", () => {
  const { host, store } = make();
  store.ui.kernel = "gone";
  store.toggle(0);
  store.travel(-1);
  expect(host.state.active).toEqual([1, 1, 1]);
  expect(store.ui.said).toContain("No kernel");
});

test("painters run once a frame, only for what they listen to, and never after the end", () => {
  const { host, store, life } = make();
  const looks = vi.fn();
  const marks = vi.fn();
  store.on(["opacity"], looks);
  store.on(["marks"], marks);
  frame();
  host.set("opacity", 0.1);
  host.set("opacity", 0.2);
  expect(frames).toHaveLength(1);
  frame();
  expect(looks).toHaveBeenCalledTimes(2);
  expect(marks).toHaveBeenCalledTimes(1);
  life.abort();
  host.set("opacity", 0.3);
  frame();
  expect(looks).toHaveBeenCalledTimes(2);
});

test("a map speaks of its own class and method until the one asked for is there", () => {
  const { host, store } = make();
  host.set("heat", { ...host.state.heat, target_name: "cat" });
  expect(store.stale).toBe(false);
  host.set("target", 1);
  expect([store.stale, store.mapName, store.targetName, store.promises]).toEqual([true, "cat", "dog", false]);
  host.set("heat", { ...host.state.heat, id: 2, target: 1, target_name: "dog" });
  expect([store.stale, store.mapName, store.promises]).toEqual([false, "dog", true]);
});

test("the explained number is a class or the lead of one over another", () => {
  const { host, store } = make();
  const now = Float32Array.from([0.5, 0.2]);
  expect(store.scoreOf(now)).toBeCloseTo(0.5);
  host.set("target", [0, 1]);
  expect(store.scoreOf(now)).toBeCloseTo(0.3);
  expect(store.targetName).toBe("cat rather than dog");
});

test("history keeps fifty steps and is never changed in place", () => {
  let history = { states: [[]] as number[][], at: 0 };
  const first = history;
  for (let i = 0; i < 80; i++) history = push(history, [i]);
  expect(first).toEqual({ states: [[]], at: 0 });
  expect(history.states).toHaveLength(51);
  expect(step(history, -99).at).toBe(0);
  expect(step(history, 99).at).toBe(50);
});
