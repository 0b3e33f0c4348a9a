"""Pages that show the widget with no network and no kernel."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from toys import NAMES, ColourModel, quarters

import xai_widgets as xw
from xai_widgets.export import notebook_page


def open_offline(new_page, path):
    page = new_page(offline=True)
    asked = []
    page.on("request", lambda r: asked.append(r.url))
    page.goto(path.as_uri())
    page.locator("[data-testid=xw][data-ready='1']").first.wait_for()
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    return page


@pytest.mark.browser
def test_an_explanation_as_a_page_can_be_looked_at_without_a_network(new_page, tmp_path):
    e = xw.attribute(ColourModel(), quarters(), class_names=NAMES, method="occlusion")
    page = open_offline(new_page, e.to_html(tmp_path / "e.html"))
    root = page.get_by_test_id("xw")
    assert root.get_attribute("data-heat") == "1"
    assert "red" in root.inner_text()
    root.get_by_role("button", name="Display").click()
    slider = root.get_by_role("slider", name="Heat opacity")
    slider.focus()
    slider.press("Home")
    assert slider.input_value() == "0"
    root.get_by_text("No kernel", exact=True).wait_for()
    assert page.log == []


@pytest.mark.browser
@pytest.mark.jupyter
def test_an_executed_notebook_as_a_page_shows_its_widgets_without_a_network(new_page, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here.parent}:{here}")
    code = (
        "import xai_widgets as xw\nfrom toys import NAMES, ColourModel, quarters\n"
        "w = xw.explain(ColourModel(), quarters(), class_names=NAMES, method='saliency')\nw"
    )
    cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("w.toggle(0)\n_ = w.wait(20)")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    html = notebook_page(notebook)
    assert not re.search(r'(src|href)="https?:', html)
    (tmp_path / "n.html").write_text(html, encoding="utf-8")
    page = open_offline(new_page, tmp_path / "n.html")
    root = page.get_by_test_id("xw")
    assert root.count() == 1
    assert root.get_attribute("data-off") == "0"
    # The same output carries a picture and text for where no script runs.
    (output,) = notebook.cells[0].outputs
    assert {"image/png", "text/plain"} <= set(output.data)


def test_text_from_outside_cannot_end_the_script_it_travels_in(tmp_path):
    e = xw.attribute(ColourModel(), quarters(), class_names=["</script><b>", "g", "b"], method="saliency", target=0)
    html = e.to_html(tmp_path / "e.html").read_text(encoding="utf-8")
    assert html.count("</script>") == 2
