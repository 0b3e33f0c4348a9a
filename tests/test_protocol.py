"""The two spellings of the protocol, Python's and TypeScript's, are one."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest

from xai_widgets import protocol

SOURCE = (Path(__file__).parents[1] / "js" / "protocol.ts").read_text(encoding="utf-8")
RECORDS = (
    "Picture", "Regions", "Heat", "Prediction", "History", "MethodRow", "Progress", "Failure", "Fact", "Judgement",
    "RecordRequest", "LayerRow", "Thumb", "ParamRow", "Plate",
)  # fmt: skip
LISTS = ("KERNEL_TRAITS", "SHARED_TRAITS", "REQUESTS", "STATUSES", "COLORMAPS", "SIGNS", "VERDICTS")


@pytest.mark.parametrize("name", RECORDS)
def test_each_record_has_the_same_fields_on_both_sides(name):
    body = re.search(rf"export interface {name}\b[^{{]*{{(.*?)\n}}", SOURCE, re.DOTALL)
    assert body, f"js/protocol.ts has no interface {name}"
    fields = re.findall(r"^\s*(\w+)\??:", re.sub(r"/\*.*?\*/|//[^\n]*", "", body[1], flags=re.DOTALL), re.MULTILINE)
    assert sorted(fields) == sorted(typing.get_type_hints(getattr(protocol, name)))


@pytest.mark.parametrize("name", LISTS)
def test_each_list_of_names_is_the_same_on_both_sides(name):
    body = re.search(rf"export const {name}\b[^=]*=\s*\[(.*?)\]", SOURCE, re.DOTALL)
    assert body, f"js/protocol.ts has no const {name}"
    assert tuple(re.findall(r'"([^"]+)"', body[1])) == tuple(getattr(protocol, name))


def test_the_widget_has_every_trait_and_syncs_no_other():
    from xai_widgets.widgets.explorer import Explorer

    own = {name for name, trait in Explorer.class_traits(sync=True).items() if not name.startswith("_")}
    inherited = {"layout", "tabbable", "tooltip", "comm", "keys", "log"}
    assert own - inherited == {*protocol.KERNEL_TRAITS, *protocol.SHARED_TRAITS}


def test_the_widget_shadows_nothing_of_its_base_classes_by_accident():
    import anywidget

    from xai_widgets.widgets.explorer import Explorer

    meant = {"_esm", "_css", "close", "set_state", "_repr_mimebundle_", "__init__", "__repr__", "__doc__", "__module__"}
    class_made = {
        "_all_trait_default_generators", "_descriptors", "_instance_inits", "_static_immutable_initial_values",
        "_trait_default_generators", "_traits", "__annotations__", "__static_attributes__", "__firstlineno__",
    }  # fmt: skip
    shadowed = {name for name in vars(Explorer) if hasattr(anywidget.AnyWidget, name)}
    assert shadowed - meant - class_made == set()
