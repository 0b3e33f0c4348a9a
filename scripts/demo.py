"""``make demo``: runs the quickstart notebook, writes it as a page, and tells what the demo classifier sees.

Usage: ``python scripts/demo.py [NOTEBOOK [PAGE]]``
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
PAGE = ROOT / "build" / "quickstart.html"
EXPECTED = {"coffee": "espresso", "camera": "tripod"}
"""What the classifier must say, else its weights or its preprocessing are not what they should be."""


def execute(path: Path) -> NotebookNode:
    """The notebook at `path` with its outputs and the state of its widgets; the file itself is not changed."""
    import nbformat
    from nbclient import NotebookClient

    nb = nbformat.read(path, as_version=4)
    # In a folder of its own, so that the judgements it stores do not stay beside the notebook.
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(nb, timeout=600, resources={"metadata": {"path": folder}}).execute()
    return nb


def export(nb: NotebookNode, target: Path) -> Path:
    """Write `nb` as one HTML page that shows the widgets offline."""
    from xai_widgets.export import notebook_page

    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(notebook_page(nb), encoding="utf-8")
    return target


def top_classes() -> list[tuple[str, str, float]]:
    """(photo, class, probability) of the best class for each demo photo."""
    import torch

    from xai_widgets import demo

    net, rows = demo.imagenet_classifier(), []
    for name in demo.samples():
        with torch.no_grad():
            probability, index = net(net.preprocess(demo.sample(name))[None])[0].softmax(0).max(0)
        rows.append((name, net.class_names[index], float(probability)))
    return rows


def main(notebook: Path = NOTEBOOK, page: Path = PAGE) -> None:
    start = time.monotonic()
    print(f"Running {notebook.name} …", flush=True)
    export(execute(notebook), page)
    print(f"Done in {time.monotonic() - start:.0f} s. The demo classifier says:")
    rows = top_classes()
    for name, best, probability in rows:
        print(f"  {name:<11} {best:<16} {probability:.3f}")
    wrong = {name: best for name, best, _ in rows if best != EXPECTED.get(name, best)}
    if wrong:
        sys.exit(f"That is wrong: {wrong}, expected {EXPECTED}.")
    print(f"\nOpen {page} to read it, or type `make lab` to use it live.")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
