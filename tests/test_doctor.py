"""The doctor finds what is wrong, names the line to type, and never fails itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

import xai_widgets as xw

doctor = import_module("xai_widgets.doctor")


def found(what: str) -> list:
    return [finding for finding in xw.doctor() if finding.what == what]


def one(what: str):
    (finding,) = found(what)
    return finding


def test_nothing_is_broken_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = xw.doctor()
    assert report.broken == (), report
    assert "Everything works." in repr(report)
    names = [finding.what for finding in report]
    for name in ("Python", "torch", "numpy", "anywidget", "ipywidgets", "shap", "lime", "captum", "timm", "CPU"):
        assert name in names
    assert list(tmp_path.iterdir()) == []


def test_it_is_fast_once_torch_is_loaded():
    xw.doctor()
    start = time.perf_counter()
    xw.doctor()
    assert time.perf_counter() - start < 2  # 0.2 s on an idle machine


def test_it_loads_no_explainer_and_its_module_not_even_torch():
    heavy = "{'shap', 'lime', 'captum', 'torchvision', 'timm', 'transformers', 'matplotlib', 'anywidget'}"
    code = (
        "import sys, xai_widgets.doctor; assert 'torch' not in sys.modules; "
        f"import xai_widgets as xw; xw.doctor(); assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_table_is_aligned_and_lines_to_type_are_whole():
    long = "python -m pip install " + "x" * 200
    report = doctor.Report(
        [doctor.Finding("a", "1"), doctor.Finding("longer", "2", "broken", "why " * 60, long), doctor.Finding("b", "")]
    )
    lines = repr(report).splitlines()
    assert lines[0] == "works   a       1"
    assert lines[1] == "broken  longer  2"
    assert f"                → {long}" in lines
    assert lines[-1] == "1 thing is broken."


# ---- versions


def pretend(monkeypatch, **versions: str | None) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in versions and versions[name] is None:
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)


def test_an_old_ipywidgets(monkeypatch):
    pretend(monkeypatch, ipywidgets="7.8.1")
    finding = one("ipywidgets")
    assert finding.verdict == "broken"
    assert finding.why == "ipywidgets>=8.1 is needed."
    assert finding.repair == f'{sys.executable} -m pip install --upgrade "ipywidgets>=8.1"'


@pytest.mark.parametrize("version", ["0.9.0", "0.12.1"])
def test_an_anywidget_too_old_or_too_new(monkeypatch, version):
    pretend(monkeypatch, anywidget=version)
    assert one("anywidget").verdict == "broken"


def test_absent_packages(monkeypatch):
    pretend(monkeypatch, shap=None, timm=None)
    assert (one("shap").verdict, one("shap").found) == ("broken", "absent")
    assert (one("timm").verdict, one("timm").found) == ("note", "absent; optional, for models")


def test_packages_that_do_not_fit_each_other(monkeypatch):
    pretend(monkeypatch, torch="2.6.0+cu124")
    finding = one("torchvision with torch")
    assert finding.verdict == "broken"
    assert "2.6.0+cu124 is here" in finding.why
    pretend(monkeypatch, torch="2.15.0+cu130")
    assert found("torchvision with torch") == []


# ---- devices


@pytest.fixture
def cuda(monkeypatch):
    """``cuda(available, capability, arch list, version)``: what torch says about GPUs."""
    import torch

    def set_to(available: bool, capability=(9, 0), built=("sm_80", "sm_90"), version="13.0") -> None:
        monkeypatch.setattr(torch.version, "cuda", version)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Test GPU")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(built))

    return set_to


@pytest.mark.parametrize(
    ("capability", "built", "verdict"),
    [
        ((9, 0), ("sm_80", "sm_90"), "works"),
        ((8, 6), ("sm_80", "sm_90"), "works"),
        ((12, 0), ("sm_80", "sm_90"), "broken"),
        ((12, 0), ("sm_80", "compute_90"), "works"),
        ((9, 0), ("sm_90a",), "works"),
        ((6, 1), ("sm_75", "compute_90"), "broken"),
    ],
)
def test_a_gpu_that_torch_can_and_cannot_use(cuda, capability, built, verdict):
    cuda(True, capability, built)
    finding = one("CUDA")
    assert finding.verdict == verdict
    assert finding.found == "cuda:0 Test GPU"
    assert bool(finding.repair) == (verdict == "broken")


def test_no_gpu(cuda, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    monkeypatch.setattr(doctor, "PROC", Path("/nowhere"))
    cuda(False)
    assert (one("CUDA").verdict, one("CUDA").found, one("CUDA").why) == ("note", "13.0 in torch, no GPU", "")
    monkeypatch.setattr(doctor.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    assert "as a rule it is too old" in one("CUDA").why
    cuda(False, version=None)
    assert "for the CPU alone" in one("CUDA").why


def test_a_torch_that_cannot_be_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    finding = next(each for each in found("torch") if each.verdict == "broken")
    assert finding.found == "cannot be loaded"


# ---- front end and server


@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_or_empty_front_end(monkeypatch, tmp_path, empty):
    static = tmp_path / "lib" / "xai_widgets" / "static"
    static.mkdir(parents=True)
    (static / "widget.css").write_text("x")
    if empty:
        (static / "widget.js").touch()
    monkeypatch.setattr(doctor, "STATIC", static)
    finding = one("front end")
    assert finding.verdict == "broken"
    assert finding.found.startswith("widget.js missing or empty")
    assert "pip install --force-reinstall" in finding.repair
    (tmp_path / "lib" / "package.json").touch()
    assert one("front end").repair == f"cd {tmp_path / 'lib'} && npm ci && npm run build"


@pytest.fixture
def jupyter(monkeypatch, tmp_path):
    """A kernel of Jupyter whose server runs in another environment; its folder of extensions."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    server = tmp_path / "server"
    (tmp_path / "proc" / "4711").mkdir(parents=True)
    (tmp_path / "proc" / "4711" / "cmdline").write_text(
        f"{server}/bin/python\0{server}/bin/jupyter-lab\0--no-browser\0"
    )
    os.symlink(tmp_path, tmp_path / "proc" / "4711" / "cwd")
    monkeypatch.setattr(doctor, "PROC", tmp_path / "proc")
    monkeypatch.setattr(doctor, "_shared", list)
    monkeypatch.setenv("JPY_PARENT_PID", "4711")
    return server / "share" / "jupyter" / "labextensions"


def install(folder: Path, name: str, version: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "package.json").write_text(json.dumps({"version": version}))


def test_a_server_in_another_environment_without_anywidget(jupyter):
    install(jupyter, "@jupyter-widgets/jupyterlab-manager", "5.0.15")
    finding = one("Jupyter server")
    server = jupyter.parents[2]
    assert finding.verdict == "broken"
    assert finding.why.startswith(f"anywidget: not among the extensions in {server}")
    assert f"another environment, {sys.prefix}" in finding.why
    assert finding.repair.startswith(f"{server}/bin/python -m pip install --upgrade anywidget ipywidgets")


def test_a_server_with_everything(jupyter):
    install(jupyter, "@jupyter-widgets/jupyterlab-manager", "5.0.15")
    install(jupyter, "anywidget", metadata.version("anywidget"))
    assert one("Jupyter server").verdict == "works"
    assert one("notebook").found == "Jupyter"


def test_a_server_with_another_anywidget(jupyter):
    install(jupyter, "@jupyter-widgets/jupyterlab-manager", "5.0.15")
    install(jupyter, "anywidget", "0.9.2")
    finding = one("Jupyter server")
    assert finding.verdict == "note"
    assert finding.found.startswith("anywidget 0.9.2")


def test_a_server_started_with_a_relative_path(jupyter, tmp_path):
    (tmp_path / "proc" / "4711" / "cmdline").write_text("server/bin/python\0-m\0jupyterlab\0")
    assert doctor._server() == jupyter.parents[2]


@pytest.mark.parametrize("parent", ["", "none", "4712"])
def test_a_server_that_cannot_be_found(jupyter, monkeypatch, parent):
    monkeypatch.setenv("JPY_PARENT_PID", parent)
    assert one("Jupyter server").verdict == "works"  # this environment has the extensions itself


def test_a_parent_that_is_no_jupyter(jupyter, tmp_path):
    (tmp_path / "proc" / "4711" / "cmdline").write_text("/usr/bin/code\0--serve\0")
    assert doctor._server() is None


def test_no_extension_and_no_server_in_sight_is_a_note(monkeypatch, tmp_path):
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setattr(doctor, "_shared", list)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert one("Jupyter server").verdict == "note"


# ---- the folder, and the doctor's own health


def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    def refuse(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)  # root may write anywhere
    finding = one("feedback")
    assert finding.verdict == "broken"
    assert finding.why == "Judgements cannot be kept there: Read-only file system."
    assert finding.repair.startswith("xw.explain(model, image, store=")


def test_a_check_that_fails_is_a_line(monkeypatch):
    def _strange_thing():
        raise ValueError("with\nbreaks")

    monkeypatch.setattr(doctor, "CHECKS", [_strange_thing, *doctor.CHECKS])
    finding = xw.doctor()[0]
    assert (finding.what, finding.verdict) == ("strange thing", "note")
    assert finding.why == "This check failed itself, with ValueError: with breaks"


def test_a_folder_that_is_gone(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert one("feedback").found == "unknown"
