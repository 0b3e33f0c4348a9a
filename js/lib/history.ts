/** The toggle states so far; mirrors xai_widgets/widgets/toggles.py, so that undo means the same on either side. */
import type { History } from "../protocol.ts";

const LIMIT = 51;

export const present = (history: History): number[] => history.states[history.at] ?? [];

export function push(history: History, off: readonly number[]): History {
  const states = [...history.states.slice(0, history.at + 1), [...off]].slice(-LIMIT);
  return { states, at: states.length - 1 };
}

export function step(history: History, by: number): History {
  return { states: history.states, at: Math.min(Math.max(history.at + by, 0), history.states.length - 1) };
}
