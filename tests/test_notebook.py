"""The quickstart in a real JupyterLab and a real Notebook 7, with a real kernel and a real ImageNet model."""

from __future__ import annotations

import re
import shutil

import pytest
from lab import ROOT, NotebookPage

pytestmark = [pytest.mark.browser, pytest.mark.jupyter]


@pytest.fixture
def open_notebook(server, new_page):
    def open_it(app, name):
        return NotebookPage(new_page(viewport={"width": 1500, "height": 1000}), server, app, name)

    yield open_it
    server.shutdown_kernels()


def view(notebook, i=0):
    """The i-th widget of the page, drawn and with a finished map."""
    root = notebook.page.locator("[data-testid=xw][data-ready='1']").nth(i)
    root.wait_for(timeout=60_000)
    notebook.page.wait_for_function(
        "i => { const w = document.querySelectorAll('[data-testid=xw]')[i];"
        " return w && w.dataset.heat && w.dataset.status === 'idle'; }",
        arg=i,
        timeout=120_000,
    )
    return root


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_the_quickstart_from_run_all_to_a_judgement_that_survives_the_kernel(app, server, open_notebook):
    name = f"quickstart-{app}.ipynb"
    shutil.copy(ROOT / "notebooks" / "quickstart.ipynb", server.root / name)
    (server.root / "xai_feedback.db").unlink(missing_ok=True)
    notebook = open_notebook(app, name)
    page = notebook.page
    notebook.run_all()
    assert notebook.kernel_errors == []
    first, second = view(notebook, 0), view(notebook, 1)

    # Sliders: the kernel hears of the value that they are left at.
    first.get_by_role("button", name="Display").click()
    slider = first.get_by_role("slider", name="Heat opacity")
    slider.focus()
    slider.press("Home")
    notebook.until("w.opacity == 0")
    strongest = first.get_by_role("slider", name="Show strongest")
    strongest.focus()
    strongest.press("PageDown")
    notebook.until("w.threshold < 1")

    # Regions: one is off from the cell above; another goes off by a click, and the answer is the model's.
    notebook.until("(~w.active).sum() == 1")
    canvas = first.get_by_test_id("xw-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.05, "y": box["height"] * 0.95})
    notebook.until("(~w.active).sum() == 2 and w.wait(20)")
    check = """
import numpy as np, torch
e = w.explanation
altered = np.where((~w.active)[e.segments][..., None], e.off_image, e.image)
with torch.no_grad():
    p = model(torch.tensor((altered / 255 - 0.5) / 0.5).permute(2, 0, 1)[None].float()).softmax(1)[0].numpy()
print(float(np.abs(p - np.asarray(w.prediction)).max()) < 1e-5)
"""
    assert notebook.execute(check) == "True\n"
    off = notebook.execute("print(','.join(map(str, np.flatnonzero(~w.active))))").strip()
    page.wait_for_function("off => document.querySelector('[data-testid=xw]').dataset.off === off", arg=off)

    # A judgement by hand, on the second widget, whose cell has recorded one already.
    notebook.until("len(v.feedback) == 1")
    second.scroll_into_view_if_needed()
    second.get_by_role("button", name="Whole regions").click()
    canvas = second.get_by_test_id("xw-canvas")
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.1, "y": box["height"] * 0.1})
    second.get_by_role("textbox", name="Comment").fill("only the table")
    second.get_by_role("button", name="Submit").click()
    second.get_by_text("Saved").wait_for()
    notebook.until("[r.comment for r in v.feedback][-1] == 'only the table'")

    # The kernel is restarted, everything run again, and the judgements are there.
    notebook.restart()
    notebook.run_all()
    notebook.until("len(v.feedback) == 2", timeout=60)
    second = view(notebook, 1)
    second.get_by_text("only the table").wait_for()
    assert notebook.kernel_errors == []
    # Both hosts throw errors of their own, Notebook even on an empty page; the widget's code comes from a blob.
    assert [line for line in page.log if "blob:" in line] == []


def test_a_kernel_that_is_gone_is_said_and_looking_goes_on(server, open_notebook):
    name = server.write(
        "gone.ipynb",
        "import xai_widgets as xw\nfrom xai_widgets import demo\n"
        "w = xw.explain(demo.imagenet_classifier(), demo.sample('camera'))\nw",
    )
    notebook = open_notebook("lab", name)
    notebook.run_all()
    root = view(notebook)
    root.get_by_text("Ready").wait_for()
    notebook.page.evaluate(
        "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.shutdown(); }"
    )
    root.get_by_role("button", name="Display").click()
    slider = root.get_by_role("slider", name="Heat opacity")
    slider.focus()
    slider.press("Home")
    assert slider.input_value() == "0"
    root.get_by_test_id("xw-canvas").click(position={"x": 20, "y": 20})
    root.get_by_text("No kernel", exact=True).wait_for(timeout=20_000)


def test_running_a_cell_fifty_times_leaves_at_most_two_widgets_and_little_memory(server, open_notebook):
    name = server.write(
        "again.ipynb",
        "import gc, psutil\nimport xai_widgets as xw\nfrom xai_widgets import demo\n"
        "model, photo = demo.imagenet_classifier(), demo.sample('chelsea')",
        "w = xw.explain(model, photo)\nw",
    )
    notebook = open_notebook("lab", name)
    notebook.run_all()
    view(notebook)
    measure = (
        "w.wait(30); gc.collect(); from ipywidgets.widgets.widget import _instances\n"
        "print(sum(type(x).__name__ == 'Explorer' for x in _instances.values()),"
        " psutil.Process().memory_info().rss // 2**20)"
    )
    select = "() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1; }"
    again = "() => window.jupyterapp.commands.execute('notebook:run-cell')"
    for _ in range(3):  # let caches fill first
        notebook.page.evaluate(select)
        notebook.page.evaluate(again)
    _, before = map(int, notebook.execute(measure).split())
    for _ in range(50):
        notebook.page.evaluate(again)
    live, after = map(int, notebook.execute(measure).split())
    assert live <= 2
    assert after - before < 50
    view(notebook)


def test_the_notebook_about_models_and_pictures_runs_and_says_what_it_promises(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "notebooks" / "any_model.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.get("text", "") for output in outputs)
    assert printed.count("→ espresso") == 4  # one photo in four forms
    assert "espresso 0.951" in printed
    assert "it seems to be normalised already. Pass mean= and std=" in printed
    assert "'reddish': '0.94'" in printed
    shown = "".join(output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "features.8, 7 × 7 places" in shown
    assert "Everything works" in shown


def test_the_notebook_of_all_methods_runs_and_shows_every_one(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    import xai_widgets as xw

    notebook = nbformat.read(ROOT / "notebooks" / "methods.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(output.get("text", "") for output in outputs)
    assert f"{len(xw.methods()) + 1} methods, " in said  # and one of its own
    # What cannot run says why, and it is these three alone: the rules about ReLU, on a transformer that has none.
    refused = [line for line in said.splitlines() if line.startswith("– ")]
    assert len(refused) == 3, refused
    assert all("changes no activation of VisionTransformer" in line for line in refused), refused
    assert all(
        "image/png" in output["data"]
        for output in outputs
        if output.output_type == "display_data" and "Figure" in str(output.data)
    )


def test_the_notebook_about_speed_runs_and_says_what_it_promises(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "notebooks" / "fast.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    before, after = map(float, re.search(r"mean error of a weight ([\d.]+) -> ([\d.]+)", said).groups())
    assert after < before
    known, asked = map(int, re.search(r"samples: (\d+) known already, (\d+) asked", said).groups())
    assert known > 0 < asked
    assert re.search(r"coffee mug 0 asked, [1-9]\d* known", said)
    assert len(re.findall(r"points together", said)) == 3
