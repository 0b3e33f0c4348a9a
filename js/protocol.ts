/** Traits and messages between kernel and browser. Mirrors xai_widgets/protocol.py; a test compares the two. */

export interface Picture {
  width: number;
  height: number;
  mime: string;
  data: DataView;
  off: DataView;
}

export interface Regions {
  width: number;
  height: number;
  count: number;
  labels: DataView;
}

export interface Heat {
  id: number;
  method: string;
  label: string;
  target: number | [number, number] | null;
  target_name: string;
  kind: "regions" | "pixels" | "none";
  width: number;
  height: number;
  pixels: DataView;
  regions: DataView;
  errors: DataView;
  signed: boolean;
  additive: boolean;
  unit: "probability" | "logit" | "score";
  partial: boolean;
  /** Absent in pages that were saved before there were any, like what `Progress` has in the same way. */
  preview?: boolean;
  n_forward: number;
  seconds: number;
  note: string;
}

export interface Prediction {
  before: DataView;
  now: DataView;
  off: number[];
}

export interface History {
  states: number[][];
  at: number;
}

/** One parameter of a method, from which a control is made. */
export interface ParamRow {
  name: string;
  kind: "int" | "float" | "str";
  default: ParamValue;
  low: number | null;
  high: number | null;
  choices: string[];
  help: string;
}

/** Null where the method derives it. */
export type ParamValue = number | string | null;

export interface MethodRow {
  name: string;
  label: string;
  family: string;
  cost: string;
  summary: string;
  unfit: string;
  params: ParamRow[];
}

/** A layer that the method can read. */
export interface LayerRow {
  name: string;
  label: string;
}

/** One picture of the batch. */
export interface Thumb {
  mime: string;
  data: DataView;
  label: string;
  answer: string;
}

/** A picture that the method made. */
export interface Plate {
  mime: string;
  data: DataView;
  caption: string;
}

export interface Progress {
  done: number;
  total: number;
  left: number;
  settled?: boolean;
  more?: number;
}

export interface Failure {
  title: string;
  message: string;
  traceback: string;
}

export interface Fact {
  key: string;
  label: string;
  value: string;
  level: "" | "good" | "warn";
  title: string;
  text: string[];
}

export interface Judgement {
  id: string;
  verdict: string | null;
  regions: number[];
  rating: number | null;
  label: string;
  comment: string;
  annotator: string;
  created: string;
  method: string;
}

export interface RecordRequest {
  verdict: string | null;
  regions: number[];
  rating: number | null;
  label: string;
  comment: string;
}

export const KERNEL_TRAITS = [
  "picture",
  "regions",
  "heat",
  "prediction",
  "class_names",
  "methods",
  "status",
  "progress",
  "error",
  "facts",
  "feedback",
  "store",
  "layers",
  "pictures",
  "gallery",
] as const;
export const SHARED_TRAITS = [
  "target",
  "method",
  "active",
  "history",
  "opacity",
  "threshold",
  "colormap",
  "sign",
  "layer",
  "picked",
  "params",
] as const;
export const STATUSES = ["idle", "running", "stopped", "failed", "closed"] as const;
export const COLORMAPS = ["auto", "vermilion-blue", "purple-green", "viridis", "cividis"] as const;
export const SIGNS = ["both", "for", "against", "size"] as const;
export const VERDICTS = ["mattered", "must_not_matter", "unsure"] as const;
export const REQUESTS = ["ping", "stop", "more", "retry", "record"] as const;

export type Colormap = (typeof COLORMAPS)[number];
export type Sign = (typeof SIGNS)[number];
export type Verdict = (typeof VERDICTS)[number];
export type Request = (typeof REQUESTS)[number];

/** Every trait with its type; a dict that is not there yet is empty. */
export interface Traits {
  picture: Partial<Picture>;
  regions: Partial<Regions>;
  heat: Partial<Heat>;
  prediction: Partial<Prediction>;
  class_names: string[];
  methods: MethodRow[];
  status: (typeof STATUSES)[number];
  progress: Progress;
  error: Failure | null;
  facts: Fact[];
  feedback: Judgement[];
  store: { path?: string; annotator?: string };
  target: number | [number, number] | null;
  method: string;
  active: number[];
  history: History;
  opacity: number;
  threshold: number;
  colormap: Colormap;
  sign: Sign;
  /** These are absent in pages that were saved before there were any. */
  layers?: LayerRow[];
  pictures?: Thumb[];
  /** The dotted name; empty: chosen by the method. */
  layer?: string;
  picked?: number;
  gallery?: Plate[];
  params?: Record<string, ParamValue>;
}
