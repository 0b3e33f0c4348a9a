/** Keys for the whole widget. What is typed inside never reaches the notebook, and typing fields keep all keys. */
import { VERDICTS } from "../protocol.ts";
import type { Store } from "../store.ts";
import type { Help } from "./help.ts";
import { setMarking } from "./judgement.ts";
import { sayRegion } from "./pointer.ts";
import type { Popovers } from "./popover.ts";
import { STEP, type Zoom } from "./zoom.ts";

const TYPING = "textarea,select,input:not([type=radio],[type=checkbox],[type=range])";

export function keys(
  store: Store,
  root: HTMLElement,
  popovers: Popovers,
  help: Help,
  submit: () => void,
  zoom: Zoom,
): void {
  const { ui, signal } = store;

  /** The innermost thing ends; when there is none left, the notebook has the keys again. */
  const innermost = (): boolean => {
    if (help.isOpen) help.close();
    else if (popovers.isOpen) popovers.close(true);
    else if (ui.marking) setMarking(store, false);
    else return false;
    return true;
  };
  const strongest = (): void => {
    const order = store.evidence?.order ?? [];
    if (!order.length) return;
    const at = order.indexOf(ui.focus);
    store.focus(order[(at + 1) % order.length] as number);
    sayRegion(store, ui.focus);
  };
  const plain = (key: string, shift: boolean, repeat: boolean): boolean => {
    if (key === "z") store.travel(shift ? 1 : -1);
    else if (key === "x") store.allOn();
    else if (key === "n") strongest();
    else if (key === "o") ui.outlines = !ui.outlines;
    else if (key === "h") ui.peek ||= !repeat;
    else if (key === "g") setMarking(store, !ui.marking);
    else if (key === "?") help.open();
    else if (key === "+" || key === "=") zoom.by(STEP);
    else if (key === "-") zoom.by(1 / STEP);
    else if (key === "0") zoom.fit();
    else if (key === "f") zoom.full();
    else if (key === "1" || key === "2" || key === "3") {
      ui.verdict = VERDICTS[Number(key) - 1] ?? ui.verdict;
      store.touch("marks");
    } else return false;
    store.touch("looks");
    return true;
  };

  root.addEventListener(
    "keydown",
    (event) => {
      const target = event.target as HTMLElement;
      const command = event.ctrlKey || event.metaKey;
      const key = event.key.toLowerCase();
      let done = false;
      if (key === "escape") done = innermost();
      else if (key === "enter" && command) {
        submit();
        done = true;
      } else if (
        popovers.isOpen &&
        !target.matches("select,[type=number]") &&
        (key === "arrowdown" || key === "arrowup")
      ) {
        popovers.walk(key === "arrowdown" ? 1 : -1);
        done = true;
      } else if (!target.matches(TYPING) && !event.altKey && (!command || key === "z")) {
        done = !event.defaultPrevented && plain(key, event.shiftKey, event.repeat);
      }
      if (done) event.preventDefault();
      // Escape with nothing left to close is the notebook's.
      if (key !== "escape" || done) event.stopPropagation();
    },
    { signal },
  );
  root.addEventListener(
    "keyup",
    (event) => {
      if (event.key.toLowerCase() === "h" && ui.peek) {
        ui.peek = false;
        store.touch("looks");
      }
      event.stopPropagation();
    },
    { signal },
  );
}
