/** Pointing at and clicking on the picture, by pointer and by keyboard. */
import { neighbour, placeWord } from "../lib/geometry.ts";
import { dragged, inPicture, onStage, type Part, showing } from "../lib/part.ts";
import type { Store } from "../store.ts";
import * as words from "../words.ts";
import type { Layers } from "./layers.ts";
import type { Tip } from "./tooltip.ts";

/** A press that moves further than this, in screen pixels, is no click. */
const SLACK = 5;

export function pointer(store: Store, stage: HTMLElement, layers: Layers, tip: Tip): void {
  const { signal } = store;
  let pressed: { x: number; y: number; part: Part } | null = null;
  let dragging = false;

  const under = (event: PointerEvent): number => {
    const box = stage.getBoundingClientRect();
    const [over, down] = inPicture(store.ui.part, [
      (event.clientX - box.left) / box.width,
      (event.clientY - box.top) / box.height,
    ]);
    const x = Math.floor(over * layers.width);
    const y = Math.floor(down * layers.height);
    if (!layers.ready || x < 0 || y < 0 || x >= layers.width || y >= layers.height) return -1;
    return store.regions.labels[y * layers.width + x] ?? -1;
  };
  const release = (): void => {
    pressed = null;
    dragging = false;
    stage.classList.remove("drags");
  };
  stage.addEventListener("pointercancel", release, { signal });
  const act = (r: number): void => {
    if (store.ui.marking) toggleMark(store, r);
    else store.toggle(r);
  };

  stage.addEventListener(
    "pointermove",
    (event) => {
      if (pressed && (dragging || far(event, pressed)) && pressed.part.k > 1) {
        if (!dragging) stage.setPointerCapture(event.pointerId);
        dragging = true;
        stage.classList.add("drags");
        const box = stage.getBoundingClientRect();
        const { part, x, y } = pressed;
        store.look(dragged(part, (event.clientX - x) / box.width, (event.clientY - y) / box.height));
        store.point(-1);
        tip(-1);
        return;
      }
      const r = under(event);
      store.point(r);
      tip(event.pointerType === "touch" ? -1 : r, event.clientX, event.clientY);
    },
    { signal },
  );
  stage.addEventListener(
    "pointerleave",
    () => {
      store.point(-1);
      tip(-1);
    },
    { signal },
  );
  stage.addEventListener(
    "pointerdown",
    (event) => {
      const onPicture = event.button === 0 && !(event.target as Element).closest(".badge");
      pressed =
        onPicture && event.isPrimary !== false ? { x: event.clientX, y: event.clientY, part: store.ui.part } : null;
    },
    { signal },
  );
  stage.addEventListener(
    "pointerup",
    (event) => {
      const still = pressed && !dragging && !far(event, pressed);
      release();
      const r = under(event);
      if (!still || r < 0) return;
      store.focus(r);
      act(r);
      if (event.pointerType !== "touch") tip(r, event.clientX, event.clientY);
    },
    { signal },
  );
  stage.addEventListener("focus", () => store.touch("point"), { signal });
  stage.addEventListener(
    "blur",
    () => {
      tip(-1);
      store.touch("point");
    },
    { signal },
  );
  stage.addEventListener(
    "keydown",
    (event) => {
      if (event.target !== stage) return; // a button that lies on it
      const { focus } = store.ui;
      const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
      const first = store.evidence?.order[0] ?? 0;
      if (way) {
        const next = focus < 0 ? first : neighbour(store.regions.places, focus, way[0] as number, way[1] as number);
        if (next >= 0) store.focus(next);
      } else if (event.key === " " || event.key === "Enter") {
        if (focus < 0) store.focus(first);
        act(store.ui.focus);
      } else return;
      event.preventDefault();
      showFocused(store, stage, layers, tip);
    },
    { signal },
  );
}

function showFocused(store: Store, stage: HTMLElement, layers: Layers, tip: Tip): void {
  const r = store.ui.focus;
  const place = store.regions.places[r];
  if (!place) return;
  sayRegion(store, r);
  const [x, y] = [place.x / layers.width, place.y / layers.height];
  store.look(showing(store.ui.part, x, y));
  const box = stage.getBoundingClientRect();
  const [right, down] = onStage(store.ui.part, x, y);
  tip(r, box.left + right * box.width, box.top + down * box.height, true);
}

/** Whether a pointer has left the place where it was pressed. */
const far = (event: PointerEvent, from: { x: number; y: number }): boolean =>
  Math.hypot(event.clientX - from.x, event.clientY - from.y) > SLACK;

/** Tell a screen reader about a region. */
export function sayRegion(store: Store, r: number): void {
  const e = store.evidence;
  const { places, width, height } = store.regions;
  const place = places[r];
  if (!place || !e) return;
  const where = placeWord(place, width, height);
  store.say(words.sayRegion(r, e.textOf(r), e.rank[r] ?? 0, e.order.length, where, store.isOff(r)));
}

/** Mark a region for the judgement, or take its mark away. */
export function toggleMark(store: Store, r: number): void {
  const { marked } = store.ui;
  if (!marked.delete(r)) marked.add(r);
  store.ui.saving = { state: "none" };
  store.touch("marks");
}
