"""Pages that show the widget offline: one explanation, or a whole executed notebook.

nbconvert's own export of widgets fetches three scripts from the network and shows nothing without it. Here the front
end, the state and a host of sixty lines are inside the page. Looking works; asking the model needs a kernel.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_widgets import wire
from xai_widgets.errors import XaiError
from xai_widgets.facts import facts

if TYPE_CHECKING:
    from xai_widgets.explanation import Explanation

_VIEW = "application/vnd.jupyter.widget-view+json"
_STATE = "application/vnd.jupyter.widget-state+json"
_HERE = Path(__file__).parent


def explanation_page(explanation: Explanation) -> str:
    """A page with one widget that shows `explanation`."""
    from xai_widgets.registry import methods

    off_image = explanation.image if explanation.off_image is None else explanation.off_image
    known = len(explanation.probabilities)
    # Another library's map may say of what classes, and no probabilities.
    target = explanation.target if isinstance(explanation.target, list) else [explanation.target]
    known = max([known, *(index + 1 for index in target if index is not None)])
    names = explanation.class_names or [f"class {i}" for i in range(known)]
    # A method from outside the package may not be registered where its result is opened.
    label = next((info.label for info in methods() if info.name == explanation.method), explanation.method)
    state: dict[str, Any] = {
        "picture": wire.picture(explanation.image, off_image),
        "regions": wire.regions(explanation.segments),
        "heat": wire.heat(explanation, 1, label),
        "prediction": wire.prediction(explanation.probabilities, explanation.probabilities, []),
        "class_names": list(names),
        "methods": [],
        "status": "idle",
        "progress": {"done": 0, "total": 0, "left": -1},
        "error": None,
        "facts": facts(explanation),
        "gallery": wire.gallery(explanation),
        "feedback": [],
        "store": {"path": "", "annotator": ""},
        "target": explanation.target,
        "method": explanation.method,
        "active": [1] * explanation.n_segments,
        "history": {"states": [[]], "at": 0},
        "opacity": 0.8,
        "threshold": 1.0,
        "colormap": "auto",
        "sign": "both",
    }
    title = f"Why {explanation.target_name}? According to {label}"
    plain, buffers = _split(state)
    body = f'<main data-xai-model="0"></main><noscript><pre>{escape(explanation.summary())}</pre></noscript>'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><style>body{margin:0;padding:16px}</style></head>'
        f"<body>{body}{_script({'0': {'state': plain, 'buffers': buffers}})}</body></html>"
    )


def notebook_page(notebook: Any) -> str:
    """An executed notebook as HTML, with its widgets inside.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Executed with its widget state stored, as nbclient and "Save widget state" do.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(require_js_url="", jquery_url="", mathjax_url="", mermaid_js_url="")
    page, _ = exporter.from_notebook_node(notebook)
    stored = notebook.metadata.get("widgets", {}).get(_STATE, {}).get("state", {})
    models = {
        number: {
            "state": {key: value for key, value in entry["state"].items() if not key.startswith("_")},
            "buffers": [{"path": buffer["path"], "data": buffer["data"]} for buffer in entry.get("buffers", [])],
        }
        for number, entry in stored.items()
        if entry.get("model_module") == "anywidget" and "heat" in entry["state"]
    }

    def mount(found: re.Match[str]) -> str:
        number = json.loads(found[1]).get("model_id", "")
        return f'<div data-xai-model="{escape(number)}"></div>' if number in models else found[0]

    page = re.sub(rf'<script type="{re.escape(_VIEW)}">(.*?)</script>', mount, page, flags=re.DOTALL)
    page = re.sub(rf'<script type="{re.escape(_STATE)}">.*?</script>', "", page, flags=re.DOTALL)
    # What nbconvert would fetch from elsewhere is here already, or would be asked for in vain.
    page = re.sub(r'<script[^>]*\bsrc="[^"]*"[^>]*>\s*</script>', "", page)
    page = re.sub(r"<script>(?:(?!</script>).)*html-manager(?:(?!</script>).)*</script>", "", page, flags=re.DOTALL)
    return page.replace("</body>", f"{_script(models)}</body>")


def _script(models: Mapping[str, Any]) -> str:
    static = _HERE / "static"
    try:
        esm, css = ((static / name).read_text(encoding="utf-8") for name in ("widget.js", "widget.css"))
    except FileNotFoundError:
        raise XaiError(
            "The front end is not built. In a checkout of the project type: npm ci && npm run build"
        ) from None
    content = json.dumps({"esm": esm, "css": css, "models": models}).replace("</", "<\\/")
    host = (_HERE / "host.js").read_text(encoding="utf-8")
    return f"<script>window.xaiWidgets = {content};</script><script>{host}</script>"


def _split(value: Any, path: tuple[Any, ...] = ()) -> tuple[Any, list[dict[str, Any]]]:
    """Take the bytes out of a state: the rest, and [{path, data in base64}]."""
    if isinstance(value, list):
        parts = [_split(item, (*path, number)) for number, item in enumerate(value)]
        return [plain for plain, _ in parts], [buffer for _, buffers in parts for buffer in buffers]
    if isinstance(value, Mapping):
        plain, buffers = {}, []
        for key, item in value.items():
            if isinstance(item, bytes):
                buffers.append({"path": [*path, key], "data": base64.b64encode(item).decode()})
                continue
            plain[key], more = _split(item, (*path, key))
            buffers += more
        return plain, buffers
    return value, []
