/** Everything a reader reads, in one place: plain words, ready to be translated. */
import { percent, signed } from "./lib/format.ts";
import type { Outcome, Test } from "./lib/word.ts";
import type { Verdict } from "./protocol.ts";

const many = (n: number, one: string, more: string): string => `${n} ${n === 1 ? one : more}`;

export const why = "Why";
export const accordingTo = "according to";
export const ratherThan = (a: string, b: string): string => `${a} rather than ${b}`;
export const explained = (what: string, method: string): string => `Why ${what}? According to ${method}.`;
export const help = "Keys and how to read this";

// bar
export const kernel = {
  ready: ["Ready", "The kernel is free", "Your clicks reach the model at once."],
  busy: [
    "Busy",
    "The kernel is busy",
    "Looking still works: sliders, colours, marks. Your last change is kept and asked as soon as the kernel is free.",
  ],
  gone: [
    "No kernel",
    "No kernel answers",
    "You see the last saved state; looking still works. If another cell is running, wait for it; else start the kernel and run this cell again.",
  ],
} as const;
export const stop = "Stop";
export const running = (done: number, total: number, left: number): string => {
  const progress = total ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : "asking the model";
  return left >= 0 ? `${progress} · ${Math.max(1, Math.round(left))} s left` : progress;
};
export const stopped = (done: number, total: number): string =>
  `Stopped at ${done.toLocaleString("en")} of ${total.toLocaleString("en")}; the map so far`;
export const stoppedEarly = "Stopped before there was a map";
const took = (seconds: number): string => `${seconds < 1 ? Math.max(0.1, seconds).toFixed(1) : Math.round(seconds)} s`;
export const settled = (done: number, total: number, seconds: number): string =>
  `Settled after ${done.toLocaleString("en")} of ${total.toLocaleString("en")} pictures · ${took(seconds)}`;
export const spent = (calls: number, seconds: number): string =>
  `${calls.toLocaleString("en")} ${calls === 1 ? "call" : "calls"} · ${took(seconds)}`;
export const finding = (method: string): string => `Finding the map of ${method}`;
export const refine = "Refine";
export const refineTo = (n: number): string =>
  n > 1 ? `Go on to ${n.toLocaleString("en")} altered pictures` : "Go on";
export const failed = "Failed";

// menus
export const classes = "Class to explain";
export const searchClasses = (n: number): string => `Search ${n.toLocaleString("en")} classes`;
export const mostLikely = "Most likely now";
export const found = "Found";
export const probability = "probability";
export const noClass = "No class with that name.";
export const moreClasses = (n: number): string => `and ${n.toLocaleString("en")} more; type to narrow`;
export const methods = "Method";
export const searchMethods = (n: number): string => `Search ${n} methods`;
export const noMethod = "No method with that name.";
export const settings = (method: string): string => `Settings of ${method}`;
export const defaults = "Defaults";
export const spelled = (name: string): string => {
  const words = name.replace(/^n_/, "number of ").replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
};

// what a method drew
export const gallery = (method: string): string => `Pictures made by ${method}`;
export const enlarge = (caption: string): string => `Enlarge: ${caption}`;

// notes
export const details = "Details";
export const hideDetails = "Hide details";
export const tryAgain = "Try again";
export const dismiss = "Dismiss";
export const lastGood = "What is shown below is the last good answer.";
export const noKernelNote = [
  "No kernel. ",
  "You see the last saved state; looking still works. Wait if another cell is running; else run this cell again.",
];
export const busyNote = ["The kernel is busy. ", "Your last change is kept and asked next; looking still works."];

// pictures
export const pictures = "Pictures";

// picture
export const picture = "Picture";
export const pictureWith = (n: number, summary: string): string =>
  `Picture with ${many(n, "region", "regions")}. ${summary}`;
export const pictureKeys =
  "Arrow keys move between regions, space switches one off or on, question mark lists all keys.";
export const zooming = {
  group: "Zoom",
  plus: "Zoom in (+)",
  minus: "Zoom out (−)",
  fit: "Whole picture (0)",
  full: "Full screen, on or off (F)",
  hint: "Ctrl and wheel, or two fingers, zoom",
} as const;
export const waiting = "The map is on its way";
/** The name of a map that is shown for want of the one that was asked for. */
export const preview = (shown: string, method: string, running: boolean): string =>
  running ? `${shown}, while ${method} is being found` : `This is ${shown}; there is no map of ${method} yet.`;
export const noKernelSwitch = "No kernel: run the cell again to switch regions";
export const region = (r: number): string => `Region ${r}`;
export const rank = (rank: number, of: number): string => `${rank} of ${of}`;
export const unit = { probability: "points", logit: "logit", score: "raw score" } as const;
export const scale = { probability: "points of probability", logit: "logit", score: "raw score" } as const;
export const speaks = (v: number, name: string): string => (v > 0 ? `Speaks for ${name}` : `Speaks against ${name}`);
export const average = "Average over the region";
export const tooUncertain = "Too uncertain to call";
export const measuredOff = (points: number): string => `Measured when switched off: ${signed(points)} points`;
export const clickSwitches = (off: boolean, keyboard: boolean): string =>
  `${keyboard ? "Space" : "Click"} switches it ${off ? "on again" : "off"}`;
export const clickMarks = (marked: boolean): string => `Click ${marked ? "takes the mark away" : "marks it"}`;
export const sayRegion = (r: number, value: string, rank: number, of: number, place: string, off: boolean): string =>
  `Region ${r}, ${value}, rank ${rank} of ${of}, ${place}, ${off ? "off" : "on"}`;

// colour bar and sentence
export const speaksAgainst = (name: string): string => `← against ${name}`;
export const speaksFor = (name: string): string => `for ${name} →`;
export const still = (name: string, method: string): string => `Still showing ${name}, according to ${method}.`;
/** The end of a bar beyond which a few pixels lie. */
export const beyond = (value: string, v: number): string => `${v < 0 ? "≤" : "≥"} ${value}`;
export const reach = "Where the colours end";
export const reachHow = "Drag, or use the arrow keys: colours end here. Double-click: at the end of the bar";
export const weak = "weak";
export const strong = "strong";
export const summary = {
  none: (name: string): string => `This map shows no evidence for ${name} anywhere.`,
  drawn: (method: string): string => `${method} draws pictures, below, and lays no map over the photo.`,
  most: (name: string, where: string, n: number, share: string): string =>
    `Most evidence for ${name}: ${where}; ${many(n, "region holds", "regions hold")} ${share} of it.`,
  strongest: (name: string, where: string): string => `Strongest for ${name}: ${where}.`,
  against: (where: string): string => `Strongest against: ${where}.`,
  onlyAgainst: (name: string): string => `Nothing here speaks for ${name}.`,
  unclear: (n: number, of: number): string => `${n} of ${of} regions ${n === 1 ? "is" : "are"} too uncertain to call.`,
  cells: (w: number, h: number): string => `It sees ${w} × ${h} cells, so details blur together.`,
};

// display
export const display = "Display";
export const view = "View";
export const views = { heat: "Heat", evidence: "Evidence only", photo: "Photo" } as const;
export const opacity = "Heat opacity";
export const strongestShare = "Show strongest";
export const sign = "Sign";
export const signs = { both: "Both", for: "For", against: "Against", size: "Size only" } as const;
export const colours = "Colours";
export const automatic = "Automatic";
export const allOutlines = "All outlines";
export const hideUnclear = "Hide unclear";
export const looks = {
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
};

// prediction
export const prediction = "Prediction";
export const asItIs = "on the picture as it is";
export const withOff = (n: number): string => `with ${many(n, "region", "regions")} off`;
export const asking = "asking the model";
export const unanswered = "not answered";
export const leads = (name: string): string => `${name} leads now`;
export const beforeLast = "before your last change";
export const from = (p: string): string => `from ${p}`;
export const points = (d: string): string => `${d} points`;
export const now = "now";
export const original = "original picture";
export const expects = "What the map expects";
export const thisClass = "The class explained here";
export const explainClass = (name: string): string => `Explain ${name}`;
export const originally = (p: string): string => `, originally ${p}`;

// promise and answer
export const keepsWord = "Does the map keep its word?";
export const whatCompared = "What this compares";
export const compared = [
  "Promised and measured",
  "Each weight is a promise: switch this region off, and the probability should fall by about this much. Each time you switch one, the real model is asked and both numbers are kept here.",
  "If they agree, you can lean on the map. If they do not, regions work together in ways one number per region cannot show.",
];
export const clickToTest =
  "Click a region to switch it off. The map says what should happen; the model says what does.";
export const noPromise = (method: string): string =>
  `${method} makes no promise about what happens when a region is switched off, so there is nothing to check. Switching regions still asks the model.`;
export const needsModel = "Needs the model. Without a kernel you can look, not test.";
export const inPoints = "points";
export const mapSays = "map says";
export const modelDid = "model did";
export const mapSaysBand = "map says, with its 95 % band";
export const switched = (regions: number[], off: boolean): string =>
  `${regions.length === 1 ? `Region ${regions[0]}` : many(regions.length, "region", "regions")} ${off ? "off" : "on"}`;
export const outcome = {
  kept: "The model did what the map said.",
  opposite: "The model went the other way.",
  larger: "Right direction, larger effect than the map said.",
  smaller: "Right direction, smaller effect than the map said.",
} satisfies Record<Outcome, string>;
export const askingModel = "Asking the model…";
export const score = (right: number, of: number, miss: number): string =>
  `Right direction ${right} of ${of}; typical miss ${miss.toFixed(1)} points.`;
export const answered = (test: Test, name: string, p: number): string =>
  `${test.label}. ${name} now ${percent(p)}. Map said ${signed(test.predicted)}, model did ${signed(test.measured ?? 0)} points.`;

// regions
export const regions = "Regions";
export const find = "Find";
export const findLabel = "Find a region by its number";
export const undo = "Undo";
export const redo = "Redo";
export const allOn = "Switch all regions on";
export const listLabel = "Regions, strongest first";
export const filterLabel = "Which regions to list";
export const filters = { all: "All", for: "For", against: "Against", unclear: "Unclear", off: "Off" } as const;
export const countOff = (n: number, of: number): string => (n ? `${n} of ${of} off` : String(of));
export const noneOff = "No region is off.";
export const noMatch = "No region matches.";
export const rowExtra = (rank: number, unclear: boolean): string =>
  `, rank ${rank}${unclear ? ", too uncertain to call" : ""}`;

// judgement
export const judgement = "Your judgement";
export const verdict = "Verdict";
export const verdicts = {
  mattered: "Mattered",
  must_not_matter: "Must not matter",
  unsure: "Unsure",
} satisfies Record<Verdict, string>;
export const wholeRegions = "Whole regions";
export const marking = (verdict: Verdict): string => `Marking: ${verdicts[verdict]}`;
export const markOn = "Clicks now mark, they do not switch regions.";
export const markOff = "Marking off. Clicks switch regions.";
export const done = "Done";
export const clearMarks = "Clear all marks";
export const judgedWhole = "The whole map";
export const judgedRegions = (regions: number[]): string =>
  regions.length > 6
    ? `${regions.length} regions`
    : `${regions.length === 1 ? "Region" : "Regions"} ${regions.join(", ")}`;
export const makesSense = "Does it make sense?";
export const label = "Label";
export const labelHint = "Label";
export const comment = "Comment";
export const commentHint = "Why? (optional)";
export const submit = "Submit";
export const noAnswer = "The kernel has not answered yet; what you typed is kept.";
export const saving = "Saving…";
export const saved = (at: string): string => `Saved ${at}`;
export const notSaved = (why: string): string => `Not saved. ${why}`;
export const earlier = (n: number): string => many(n, "judgement kept", "judgements kept");
export const keptIn = (path: string): string => `Kept in ${path}`;
export const andMore = (n: number): string => `and ${n} more`;
export const unrated = "no verdict";

export const chips = "How this was made";
export const readAt = "Read at";

export const sheet = {
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
        ["+ −", "zoom in or out, as Ctrl and wheel do; drag to move"],
        ["0", "the whole picture"],
        ["F", "full screen, on or off"],
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
};
