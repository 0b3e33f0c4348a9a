/** Everything a reader reads, in one place: plain words, ready to be translated. */
import { percent, signed } from "./lib/format.ts";
import type { Outcome, Test } from "./lib/word.ts";
import type { Verdict } from "./protocol.ts";

const many = (n: number, one: string, more: string): string => `${n} ${n === 1 ? one : more}`;

export const words = {
  why: "Why",
  accordingTo: "according to",
  ratherThan: (a: string, b: string): string => `${a} rather than ${b}`,
  explained: (what: string, method: string): string => `Why ${what}? According to ${method}.`,
  help: "Keys and how to read this",

  // bar
  kernel: {
    ready: ["Ready", "The kernel is free", "Your clicks reach the model at once."],
    busy: [
      "Busy",
      "The kernel is busy",
      "Looking still works: sliders, colours, marks. Your last change is kept and asked as soon as the kernel is free.",
    ],
    gone: [
      "No kernel",
      "There is no kernel",
      "You see the last saved state; looking still works. To ask the model again, start the kernel and run the cell.",
    ],
  } as const,
  stop: "Stop",
  running: (done: number, total: number, left: number): string => {
    const progress = total ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : "asking the model";
    return left >= 0 ? `${progress} · ${Math.max(1, Math.round(left))} s left` : progress;
  },
  stopped: (done: number, total: number): string =>
    `Stopped at ${done.toLocaleString("en")} of ${total.toLocaleString("en")}; the map so far`,
  spent: (calls: number, seconds: number): string =>
    `${calls.toLocaleString("en")} ${calls === 1 ? "call" : "calls"} · ${seconds < 1 ? Math.max(0.1, seconds).toFixed(1) : Math.round(seconds)} s`,
  failed: "Failed",

  // menus
  classes: "Class to explain",
  searchClasses: (n: number): string => `Search ${n.toLocaleString("en")} classes`,
  mostLikely: "Most likely now",
  found: "Found",
  probability: "probability",
  noClass: "No class with that name.",
  moreClasses: (n: number): string => `and ${n.toLocaleString("en")} more; type to narrow`,
  methods: "Method",

  // notes
  details: "Details",
  hideDetails: "Hide details",
  tryAgain: "Try again",
  dismiss: "Dismiss",
  lastGood: "What is shown below is the last good answer.",
  noKernelNote: [
    "No kernel. ",
    "You see the last saved state; looking still works. Run the cell again to ask the model.",
  ],
  busyNote: ["The kernel is busy. ", "Your last change is kept and asked next; looking still works."],

  // picture
  picture: "Picture",
  pictureWith: (n: number, summary: string): string => `Picture with ${many(n, "region", "regions")}. ${summary}`,
  pictureKeys: "Arrow keys move between regions, space switches one off or on, question mark lists all keys.",
  waiting: "The map is on its way",
  noKernelSwitch: "No kernel: run the cell again to switch regions",
  region: (r: number): string => `Region ${r}`,
  rank: (rank: number, of: number): string => `${rank} of ${of}`,
  unit: { probability: "points", logit: "logit", score: "raw score" } as const,
  scale: { probability: "points of probability", logit: "logit", score: "raw score" } as const,
  speaks: (v: number, name: string): string => (v > 0 ? `Speaks for ${name}` : `Speaks against ${name}`),
  average: "Average over the region",
  tooUncertain: "Too uncertain to call",
  measuredOff: (points: number): string => `Measured when switched off: ${signed(points)} points`,
  clickSwitches: (off: boolean, keyboard: boolean): string =>
    `${keyboard ? "Space" : "Click"} switches it ${off ? "on again" : "off"}`,
  clickMarks: (marked: boolean): string => `Click ${marked ? "takes the mark away" : "marks it"}`,
  sayRegion: (r: number, value: string, rank: number, of: number, place: string, off: boolean): string =>
    `Region ${r}, ${value}, rank ${rank} of ${of}, ${place}, ${off ? "off" : "on"}`,

  // colour bar and sentence
  against: (name: string): string => `← against ${name}`,
  for: (name: string): string => `for ${name} →`,
  weak: "weak",
  strong: "strong",
  summary: {
    none: (name: string): string => `This map shows no evidence for ${name} anywhere.`,
    most: (name: string, where: string, n: number, share: string): string =>
      `Most evidence for ${name}: ${where}; ${many(n, "region holds", "regions hold")} ${share} of it.`,
    strongest: (name: string, where: string): string => `Strongest for ${name}: ${where}.`,
    against: (where: string): string => `Strongest against: ${where}.`,
    onlyAgainst: (name: string): string => `Nothing here speaks for ${name}.`,
    unclear: (n: number, of: number): string =>
      `${n} of ${of} regions ${n === 1 ? "is" : "are"} too uncertain to call.`,
    cells: (w: number, h: number): string => `It sees ${w} × ${h} cells, so details blur together.`,
  },

  // display
  display: "Display",
  view: "View",
  views: { heat: "Heat", evidence: "Evidence only", photo: "Photo" } as const,
  opacity: "Heat opacity",
  strongestShare: "Show strongest",
  sign: "Sign",
  signs: { both: "Both", for: "For", against: "Against", size: "Size only" } as const,
  colours: "Colours",
  automatic: "Automatic",
  allOutlines: "All outlines",
  hideUnclear: "Hide unclear",
  looks: {
    heat: (p: string): string => `heat ${p}`,
    evidence: "evidence only",
    photo: "photo only",
    strongest: (p: string): string => `strongest ${p}`,
    both: "for and against",
    for: "for only",
    against: "against only",
    size: "size only",
    outlines: "outlines",
    unclear: "unclear hidden",
  },

  // prediction
  prediction: "Prediction",
  asItIs: "on the picture as it is",
  withOff: (n: number): string => `with ${many(n, "region", "regions")} off`,
  asking: "asking the model",
  leads: (name: string): string => `${name} leads now`,
  beforeLast: "before your last change",
  from: (p: string): string => `from ${p}`,
  points: (d: string): string => `${d} points`,
  now: "now",
  original: "original picture",
  expects: "What the map expects",
  thisClass: "The class explained here",
  explainClass: (name: string): string => `Explain ${name}`,
  originally: (p: string): string => `, originally ${p}`,

  // promise and answer
  keepsWord: "Does the map keep its word?",
  whatCompared: "What this compares",
  compared: [
    "Promised and measured",
    "Each weight is a promise: switch this region off, and the probability should fall by about this much. Each time you switch one, the real model is asked and both numbers are kept here.",
    "If they agree, you can lean on the map. If they do not, regions work together in ways one number per region cannot show.",
  ],
  clickToTest: "Click a region to switch it off. The map says what should happen; the model says what does.",
  noPromise: (method: string): string =>
    `${method} makes no promise about what happens when a region is switched off, so there is nothing to check. Switching regions still asks the model.`,
  needsModel: "Needs the model. Without a kernel you can look, not test.",
  inPoints: "points",
  mapSays: "map says",
  modelDid: "model did",
  mapSaysBand: "map says, with its 95 % band",
  switched: (regions: number[], off: boolean): string =>
    `${regions.length === 1 ? `Region ${regions[0]}` : many(regions.length, "region", "regions")} ${off ? "off" : "on"}`,
  outcome: {
    kept: "The model did what the map said.",
    opposite: "The model went the other way.",
    larger: "Right direction, larger effect than the map said.",
    smaller: "Right direction, smaller effect than the map said.",
  } satisfies Record<Outcome, string>,
  askingModel: "Asking the model…",
  score: (right: number, of: number, miss: number): string =>
    `Right direction ${right} of ${of}; typical miss ${miss.toFixed(1)} points.`,
  answered: (test: Test, name: string, p: number): string =>
    `${test.label}. ${name} now ${percent(p)}. Map said ${signed(test.predicted)}, model did ${signed(test.measured ?? 0)} points.`,

  // regions
  regions: "Regions",
  find: "Find",
  findLabel: "Find a region by its number",
  undo: "Undo",
  redo: "Redo",
  allOn: "Switch all regions on",
  listLabel: "Regions, strongest first",
  filterLabel: "Which regions to list",
  filters: { all: "All", for: "For", against: "Against", unclear: "Unclear", off: "Off" } as const,
  countOff: (n: number, of: number): string => (n ? `${n} of ${of} off` : String(of)),
  noneOff: "No region is off.",
  noMatch: "No region matches.",
  rowExtra: (rank: number, unclear: boolean): string => `, rank ${rank}${unclear ? ", too uncertain to call" : ""}`,

  // judgement
  judgement: "Your judgement",
  verdict: "Verdict",
  verdicts: {
    mattered: "Mattered",
    must_not_matter: "Must not matter",
    unsure: "Unsure",
  } satisfies Record<Verdict, string>,
  wholeRegions: "Whole regions",
  marking: (verdict: Verdict): string => `Marking: ${words.verdicts[verdict]}`,
  markOn: "Clicks now mark, they do not switch regions.",
  markOff: "Marking off. Clicks switch regions.",
  done: "Done",
  clearMarks: "Clear all marks",
  judgedWhole: "The whole map",
  judgedRegions: (regions: number[]): string =>
    regions.length > 6
      ? `${regions.length} regions`
      : `${regions.length === 1 ? "Region" : "Regions"} ${regions.join(", ")}`,
  makesSense: "Does it make sense?",
  label: "Label",
  labelHint: "Label",
  comment: "Comment",
  commentHint: "Why? (optional)",
  submit: "Submit",
  nothingMarked: "Judges the whole map",
  saving: "Saving…",
  saved: (at: string): string => `Saved ${at}`,
  notSaved: (why: string): string => `Not saved. ${why}`,
  earlier: (n: number): string => many(n, "judgement kept", "judgements kept"),
  keptIn: (path: string): string => `Kept in ${path}`,
  andMore: (n: number): string => `and ${n} more`,
  unrated: "no verdict",

  chips: "How this was made",

  sheet: {
    close: "Close",
    title: "How to read this",
    text: "Warm colours mark what spoke for the class, blue what spoke against it; where the photo shows through, the method found little. The map describes the model, not the world: it says what the model used, not whether that was right. Test it by switching regions off.",
    groups: [
      [
        "Regions",
        [
          ["← ↑ → ↓", "next region that way"],
          ["Space", "switch it off or on"],
          ["N", "next strongest region"],
          ["Z", "undo"],
          ["Shift Z", "redo"],
          ["X", "switch all on"],
        ],
      ],
      [
        "Looking",
        [
          ["O", "all outlines"],
          ["H", "hold to see the bare photo"],
        ],
      ],
      [
        "Judging",
        [
          ["1 2 3", "mattered, must not matter, unsure"],
          ["G", "mark whole regions"],
          ["Ctrl Enter", "submit"],
        ],
      ],
      [
        "Anywhere",
        [
          ["?", "this sheet"],
          ["Esc", "close, stop marking, back to the notebook"],
        ],
      ],
    ] as [string, [string, string][]][],
  },
};
