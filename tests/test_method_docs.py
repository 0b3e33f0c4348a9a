"""``docs/methods.md`` says of each method what it is, needs, costs, and how it is proven.

After a change write it anew::

.venv/bin/python tests/test_method_docs.py --write
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import xai_widgets as xw
from xai_widgets.registry import FAMILIES

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"
BEGIN, END = "<!-- table: made by tests/test_method_docs.py -->", "<!-- end of table -->"
NEEDS = {
    "answers": "answers only: any callable",
    "gradients": "gradients",
    "layer": "a layer that knows places",
    "canonical": "a copy with each activation a module",
    "attention": "attention between patches",
}


def table() -> str:
    """One table a family, for people."""
    from models import problem

    from xai_widgets import demo

    asked = problem(demo.imagenet_classifier(), demo.sample("coffee"), n_segments=50, segments="grid")
    transformer = problem(demo.fashion_transformer(), demo.fashion_sample(0), n_segments=50, segments="grid")
    lines: list[str] = []
    for family, words in FAMILIES.items():
        lines += ["", f"## {words}", "", "| method | paper | needs | calls | proof |", "|---|---|---|---|---|"]
        for info in (info for info in xw.methods() if info.family == family):
            on = transformer if info.unfit(asked.classifier) else asked
            calls = f"{info.cost(on, **info.bind({})):,}"
            name = f"**{info.label}** `{info.name}`<br>{info.summary}"
            cells = (name, info.source or "–", NEEDS[info.needs], calls, info.proof)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines).strip()


def test_the_page_about_methods_is_what_they_say_of_themselves():
    pytest.importorskip("torchvision")
    written = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert written == table(), "type: .venv/bin/python tests/test_method_docs.py --write"


if __name__ == "__main__":
    now = table()
    sys.stdout.write(f"{now}\n")
    if "--write" in sys.argv:
        head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{now}\n{END}{rest.split(END)[1]}", encoding="utf-8")
