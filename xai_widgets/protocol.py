"""Every trait and message name that crosses between kernel and browser, spelled once.

``js/protocol.ts`` mirrors this file and ``tests/test_protocol.py`` compares the two, so neither side can drift.

Traits hold what is needed to redraw: they survive a reload, reach every view and work without a kernel.
Messages ask for work, and every message that carries an ``id`` is answered with the same ``id``.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NotRequired, TypedDict

# ---------------------------------------------------------------------------------------------------------------------
# Traits. Bytes are little-endian; "float32 (S,)" names the dtype and shape behind a bytes field.
# ---------------------------------------------------------------------------------------------------------------------


class Picture(TypedDict):
    """What the model sees, as a picture; ``off`` is the same picture with every region switched off."""

    width: int
    height: int
    mime: str
    data: bytes
    off: bytes


class Regions(TypedDict):
    """The label map of the picture: uint16 (height, width), 0-based and contiguous."""

    width: int
    height: int
    count: int
    labels: bytes


class Heat(TypedDict):
    """One map, everything that belongs together in one value, so that no view ever mixes two maps."""

    id: int
    method: str
    label: str
    target: int | list[int] | None
    target_name: str
    kind: Literal["regions", "pixels", "none"]
    """``regions``: a number each, ``pixels`` is empty. ``pixels``: a field, ``regions`` holds its means. ``none``: the
    method draws pictures and no map."""
    width: int
    height: int
    pixels: bytes
    """float32 (height, width), raw; may be coarser than the picture, then it is to be enlarged bilinearly."""
    regions: bytes
    """float32 (S,), raw."""
    errors: bytes
    """float32 (S,) standard errors, or empty where the method has none."""
    signed: bool
    additive: bool
    """Each region's number promises what switching it off takes away; only then can the map be held to its word."""
    unit: Literal["probability", "logit", "score"]
    partial: bool
    """True while the method still refines this map."""
    preview: bool
    """True of another method's map, shown in the meantime; never of a result."""
    n_forward: int
    seconds: float
    note: str
    """One plain sentence where the map needs one, for example that it holds no positive evidence; else empty."""


class Prediction(TypedDict):
    """The model's answer for the picture as it is, and for the regions that are on now."""

    before: bytes
    """float32 (C,) probabilities of the whole picture."""
    now: bytes
    """float32 (C,) probabilities with the regions in ``off`` switched off."""
    off: list[int]
    """The regions ``now`` speaks of; the browser compares it with ``active`` to know whether an answer is due."""


class History(TypedDict):
    """Every toggle state so far, as sorted lists of the regions that are off; ``at`` is the present one."""

    states: list[list[int]]
    at: int


class ParamRow(TypedDict):
    """One parameter of a method, from which the page makes a control."""

    name: str
    kind: Literal["int", "float", "str"]
    default: int | float | str | None
    """None where the method derives it; `help` says how."""
    low: float | None
    high: float | None
    choices: list[str]
    help: str


class MethodRow(TypedDict):
    name: str
    label: str
    family: str
    cost: str
    summary: str
    unfit: str
    """Why it cannot run on this model, as far as that is known, or empty."""
    params: list[ParamRow]


class LayerRow(TypedDict):
    """A layer that the method can read; ``label`` says how finely it sees, for example ``layer3.1 · 14 × 14``."""

    name: str
    label: str


class Thumb(TypedDict):
    """One picture of the batch: a small copy, what it is called, and what the model says it is."""

    mime: str
    data: bytes
    label: str
    answer: str


class Plate(TypedDict):
    """A picture that the method made, and what it shows."""

    mime: str
    data: bytes
    caption: str


class Progress(TypedDict):
    done: int
    total: int
    """Altered pictures, or other steps; 0 where it is not known."""
    left: float
    """Seconds, or -1 where it is not known."""
    settled: bool
    """Whether the method ended before `total` because the ranking is settled."""
    more: int
    """How far the map on show can go on, counted like `total`; 0 where it cannot, or while one is being found."""


class Failure(TypedDict):
    title: str
    message: str
    traceback: str


class Fact(TypedDict):
    """One chip of the footer and what it opens to."""

    key: str
    label: str
    value: str
    level: Literal["", "good", "warn"]
    title: str
    text: list[str]


class Judgement(TypedDict):
    """A stored judgement as the browser needs it; ``regions`` is empty where the whole map was judged."""

    id: str
    verdict: str
    regions: list[int]
    rating: int | None
    label: str
    comment: str
    annotator: str
    created: str
    """ISO 8601, UTC."""
    method: str


# Owned by the kernel.
PICTURE: Final = "picture"
REGIONS: Final = "regions"
HEAT: Final = "heat"
PREDICTION: Final = "prediction"
CLASS_NAMES: Final = "class_names"
METHODS: Final = "methods"
STATUS: Final = "status"
PROGRESS: Final = "progress"
ERROR: Final = "error"
FACTS: Final = "facts"
FEEDBACK: Final = "feedback"
STORE: Final = "store"
LAYERS: Final = "layers"
PICTURES: Final = "pictures"
GALLERY: Final = "gallery"
# Owned by whoever changes them last, kernel or browser.
TARGET: Final = "target"
METHOD: Final = "method"
ACTIVE: Final = "active"
HISTORY: Final = "history"
OPACITY: Final = "opacity"
THRESHOLD: Final = "threshold"
COLORMAP: Final = "colormap"
SIGN: Final = "sign"
LAYER: Final = "layer"
PICKED: Final = "picked"
PARAMS: Final = "params"

KERNEL_TRAITS: Final = (
    PICTURE, REGIONS, HEAT, PREDICTION, CLASS_NAMES, METHODS, STATUS, PROGRESS, ERROR, FACTS, FEEDBACK, STORE,
    LAYERS, PICTURES, GALLERY,
)  # fmt: skip
SHARED_TRAITS: Final = (TARGET, METHOD, ACTIVE, HISTORY, OPACITY, THRESHOLD, COLORMAP, SIGN, LAYER, PICKED, PARAMS)

STATUSES: Final = ("idle", "running", "stopped", "failed", "closed")
COLORMAPS: Final = ("auto", "vermilion-blue", "purple-green", "viridis", "cividis")
SIGNS: Final = ("both", "for", "against", "size")
VERDICTS: Final = ("mattered", "must_not_matter", "unsure")

# ---------------------------------------------------------------------------------------------------------------------
# Messages, browser → kernel: {kind, id, payload}. Answers: {kind: "<kind>/done" | "<kind>/failed", id, payload}.
# ---------------------------------------------------------------------------------------------------------------------

PING: Final = "ping"
STOP: Final = "stop"
MORE: Final = "more"
RETRY: Final = "retry"
RECORD: Final = "record"
REQUESTS: Final = (PING, STOP, MORE, RETRY, RECORD)
DONE: Final = "done"
FAILED: Final = "failed"


class Request(TypedDict):
    kind: str
    id: str
    payload: NotRequired[dict[str, Any]]


class RecordRequest(TypedDict):
    """Payload of ``record``; ``regions`` empty judges the whole map. Answered with the stored Judgement."""

    verdict: str | None
    regions: list[int]
    rating: int | None
    label: str
    comment: str
