/** A host without a kernel for tests: counts what is set, saved and asked. */
import type { Request, Traits } from "../protocol.ts";
import type { Host, Store } from "../store.ts";

const empty: Traits = {
  picture: {},
  regions: {},
  heat: {},
  prediction: {},
  class_names: [],
  methods: [],
  status: "idle",
  progress: { done: 0, total: 0, left: -1 },
  error: null,
  facts: [],
  feedback: [],
  store: {},
  target: 0,
  method: "lime",
  active: [],
  history: { states: [[]], at: 0 },
  opacity: 0.8,
  threshold: 1,
  colormap: "auto",
  sign: "both",
  layers: [],
  pictures: [],
  layer: "",
  picked: 0,
};

export class FakeHost implements Host {
  readonly state: Traits;
  saves = 0;
  requests: Request[] = [];
  store: Store | null = null;

  constructor(state: Partial<Traits> = {}) {
    this.state = { ...empty, ...state };
  }

  get<K extends keyof Traits>(key: K): Traits[K] {
    return this.state[key];
  }

  set<K extends keyof Traits>(key: K, value: Traits[K]): void {
    this.state[key] = value;
    this.store?.changed(key);
  }

  save(): void {
    this.saves++;
  }

  request(kind: Request): Promise<never> {
    this.requests.push(kind);
    return new Promise(() => {});
  }
}

/** Little-endian bytes at an odd offset, as a comm may deliver them. */
export function bytes(values: Float32Array | Uint16Array): DataView {
  const raw = new Uint8Array(values.byteLength + 1);
  raw.set(new Uint8Array(values.buffer), 1);
  return new DataView(raw.buffer, 1);
}
