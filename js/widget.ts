/** The only file that knows the host: turns anywidget's model into what the views need, for as long as a signal lasts. */
import "./widget.css";
import type { Request, Traits } from "./protocol.ts";
import { type Host, Store, TRAITS } from "./store.ts";
import { shell } from "./views/shell.ts";

/** What is used of anywidget's model. Handlers' arguments differ between hosts, so none is read but the message. */
interface Model {
  get(key: string): unknown;
  set(key: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown): void;
  on(name: string, listener: (...args: never[]) => void): void;
  off(name: string, listener: (...args: never[]) => void): void;
}

interface Answer {
  kind?: string;
  id?: string;
  payload?: Record<string, unknown>;
}

/** After this many milliseconds without a word from the kernel there is none. */
const SILENCE = 3000;

function connect(model: Model, signal: AbortSignal): { host: Host; listen: (store: Store) => void } {
  const waiting = new Map<string, (answer: { done: boolean; payload: Record<string, unknown> }) => void>();
  const prefix = Math.random().toString(36).slice(2);
  let count = 0;
  const host: Host = {
    get: (key) => model.get(key) as never,
    set: (key, value) => model.set(key, value),
    save: () => model.save_changes(),
    request: (kind: Request, payload = {}) =>
      new Promise((resolve) => {
        const id = `${prefix}-${count++}`;
        waiting.set(id, resolve);
        model.send({ kind, id, payload });
      }),
  };
  const listen = (store: Store): void => {
    const alive = (): void => {
      if (store.ui.kernel === "ready") return;
      store.ui.kernel = "ready";
      store.touch("status", "trouble", "marks");
    };
    const subscribe = (name: string, listener: (...args: never[]) => void): void => {
      model.on(name, listener);
      signal.addEventListener("abort", () => model.off(name, listener));
    };
    for (const key of TRAITS) subscribe(`change:${key}`, () => store.changed(key as keyof Traits));
    // These two come from the kernel only, so they prove that it lives.
    for (const key of ["prediction", "progress"]) subscribe(`change:${key}`, alive);
    subscribe("msg:custom", ((answer: Answer) => {
      alive();
      const resolve = answer.id === undefined ? undefined : waiting.get(answer.id);
      if (!resolve || !answer.id) return; // another view's
      waiting.delete(answer.id);
      resolve({ done: answer.kind?.endsWith("/done") ?? false, payload: answer.payload ?? {} });
    }) as (...args: never[]) => void);
    const silence = setTimeout(() => {
      store.ui.kernel = "gone";
      store.touch("status", "trouble", "answer", "marks");
    }, SILENCE);
    signal.addEventListener("abort", () => clearTimeout(silence));
    void host.request("ping").then(() => clearTimeout(silence));
  };
  return { host, listen };
}

export default () => ({
  render({ model, el, signal }: { model: Model; el: HTMLElement; signal?: AbortSignal }): () => void {
    const own = new AbortController();
    signal?.addEventListener("abort", () => own.abort());
    const { host, listen } = connect(model, own.signal);
    const store = new Store(host, own.signal);
    shell(el, store);
    listen(store);
    return () => own.abort();
  },
});
