"""What works here, what does not, why, and the line to type: versions, devices, front end, notebook, folder.

The module has the name of its function, so it can be called like it: loading it must not hide ``xw.doctor()``.

The commonest failure of a notebook widget is an empty place where it should be. Nothing in the kernel sees that, but
its causes can be looked up: no front end in the package, an old ipywidgets, or a Jupyter server that runs in another
environment than the kernel and never heard of anywidget.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

STATIC = Path(__file__).parent / "static"
LAB_EXTENSIONS = ("anywidget", "@jupyter-widgets/jupyterlab-manager")
"""What JupyterLab and Notebook have to find beside their server to show a widget."""

OPTIONAL = {
    "torchvision": "models and preprocessing",
    "timm": "models",
    "transformers": "models",
    "onnxruntime": "models saved as ONNX",
    "openvino": "hundreds of pictures on a CPU, answered sooner",
    "captum": "results of its methods, to be shown: Explanation.from_captum",
}
"""Packages that are used where they are installed → what for."""

PROC = Path("/proc")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    what : str
    found : str
    verdict : {"works", "note", "broken"}
        A note is for something that is absent or slower than it could be, where the rest works.
    why : str
        Empty where there is nothing to explain.
    repair : str
        The line to type, empty where there is nothing to repair.
    """

    what: str
    found: str
    verdict: Literal["works", "note", "broken"] = "works"
    why: str = ""
    repair: str = ""


class Report(tuple[Finding, ...]):
    """All findings; prints as a table."""

    __slots__ = ()

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What does not work."""
        return tuple(finding for finding in self if finding.verdict == "broken")

    def __repr__(self) -> str:
        width = max(len(finding.what) for finding in self)
        indent = " " * (width + 10)
        lines = []
        for finding in self:
            lines.append(f"{finding.verdict:<6}  {finding.what:<{width}}  {finding.found}".rstrip())
            if finding.why:
                lines.append(textwrap.fill(finding.why, 110, initial_indent=indent, subsequent_indent=indent))
            if finding.repair:
                lines.append(f"{indent}→ {finding.repair}")  # never wrapped: it is there to be copied
        n = len(self.broken)
        lines.append("Everything works." if n == 0 else f"{n} thing{'s are' if n > 1 else ' is'} broken.")
        return "\n".join(lines)


def doctor() -> Report:
    """Look at this installation; never raises, and works outside of a notebook too.

    Returns
    -------
    Report
        A tuple of `Finding` that prints as a table; ``doctor().broken`` holds what does not work.
    """
    findings: list[Finding] = []
    for check in CHECKS:
        name = check.__name__.strip("_").replace("_", " ")
        try:
            findings.extend(check())
        except Exception as error:  # noqa: BLE001 - a check that fails is a line of the report
            why = f"This check failed itself, with {type(error).__name__}: {error}"
            findings.append(Finding(name, "unknown", "note", " ".join(why.split())))
    return Report(findings)


def _pip(*what: str, python: str = "") -> str:
    quoted = " ".join(f'"{each}"' if re.search(r"[<>=,!~]", each) else each for each in what)
    return f"{python or sys.executable} -m pip install --upgrade {quoted}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# ---- versions --------------------------------------------------------------------------------------------------------


def _python() -> Iterator[Finding]:
    yield Finding("Python", f"{sys.version.partition(' ')[0]} in {sys.prefix}")


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    needed = [Requirement(line) for line in metadata.requires("xai-widgets") or ()]
    needed = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    for each in needed:
        found, wanted = _version(each.name), f"{each.name}{each.specifier}"
        if found is None:
            yield Finding(each.name, "absent", "broken", f"{wanted} is needed.", _pip(wanted))
        elif not each.specifier.contains(found, prereleases=True):
            yield Finding(each.name, found, "broken", f"{wanted} is needed.", _pip(wanted))
        else:
            yield Finding(each.name, found)
    names = {each.name.lower() for each in needed}
    for name, purpose in OPTIONAL.items():
        if name not in names:
            found = _version(name)
            yield Finding(name, found) if found else Finding(name, f"absent; optional, for {purpose}", "note")


def _combinations() -> Iterator[Finding]:
    """Packages that were installed side by side and do not fit: torchvision and torch, numba and numpy, and so on."""
    from packaging.requirements import Requirement

    for package in ("torchvision", "numba", "shap", "captum", "scikit-image", "anywidget", "ipywidgets", "timm"):
        if _version(package) is None:
            continue
        for need in map(Requirement, metadata.requires(package) or ()):
            if need.marker is not None and not need.marker.evaluate({"extra": ""}):
                continue
            found = _version(need.name)
            # A build such as 2.5.1+cu121 fits a demand for 2.5.1.
            if found is not None and not need.specifier.contains(found.partition("+")[0], prereleases=True):
                why = f"{package} {_version(package)} was made for {need.name}{need.specifier}, and {found} is here."
                repair = _pip(package, f"{need.name}{need.specifier}")
                yield Finding(f"{package} with {need.name}", "do not fit", "broken", why, repair)


# ---- devices ---------------------------------------------------------------------------------------------------------


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken library raises whatever it likes
        why = f"import torch ended in {type(error).__name__}: {' '.join(str(error).split())}"
        yield Finding("torch", "cannot be loaded", "broken", why, _pip("torch", "--force-reinstall"))
        return
    threads = torch.get_num_threads()
    yield Finding("CPU", f"{threads} thread{'s' if threads > 1 else ''} of {os.cpu_count()}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an old driver; it is said below
        available = torch.cuda.is_available()
    version = torch.version.cuda or torch.version.hip
    card = (PROC / "driver/nvidia/gpus").exists() or shutil.which("nvidia-smi") is not None
    if not available and not version:
        why = "There is an NVIDIA driver, but this build of torch is for the CPU alone." if card else ""
        repair = "see https://pytorch.org/get-started for the line that installs torch with CUDA" if card else ""
        yield Finding("CUDA", f"not in torch {torch.__version__}", "note", why, repair)
    elif not available:
        why = "There is an NVIDIA driver, but torch cannot use it; as a rule it is too old." if card else ""
        yield Finding("CUDA", f"{version} in torch, no GPU", "note", why, "nvidia-smi" if card else "")
    else:
        for index in range(torch.cuda.device_count()):
            yield _gpu(torch, index)
    mps = getattr(torch.backends, "mps", None)
    if mps is not None and mps.is_available():
        yield Finding("MPS", "available")


def _gpu(torch: Any, index: int) -> Finding:
    name, (major, minor) = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    built = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", each) for each in torch.cuda.get_arch_list()]
    # Machine code runs on its own generation from its own step on, intermediate code on everything newer.
    fits = any(
        (int(m[2]), int(m[3])) <= (major, minor) and (m[1] == "compute" or int(m[2]) == major) for m in built if m
    )
    found = f"cuda:{index} {name}"
    if fits or torch.version.hip or not any(built):
        return Finding("CUDA", found)
    why = f"It is of compute capability {major}.{minor}, and torch {torch.__version__} has no code for that."
    return Finding("CUDA", found, "broken", why, 'xw.explain(model, image, device="cpu")')


# ---- the front end and who shows it ----------------------------------------------------------------------------------


def _front_end() -> Iterator[Finding]:
    bad = [name for name in ("widget.js", "widget.css") if not _size(STATIC / name)]
    if not bad:
        yield Finding("front end", f"{sum(_size(path) for path in STATIC.iterdir()) // 1000} kB in {STATIC}")
        return
    checkout = STATIC.parents[1]
    repair = f"{sys.executable} -m pip install --force-reinstall --no-deps xai-widgets"
    if (checkout / "package.json").exists():
        repair = f"cd {checkout} && npm ci && npm run build"
    why = "Without it the widget cannot be shown; attribute() and saved explanations still work."
    yield Finding("front end", f"{' and '.join(bad)} missing or empty in {STATIC}", "broken", why, repair)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _notebook() -> Iterator[Finding]:
    host = _host()
    if host is None:
        yield Finding("notebook", "not running in one", "note", "A widget needs a notebook; attribute() does not.")
    else:
        yield Finding("notebook", host)
    if host not in (None, "Jupyter"):
        return  # Colab and marimo bring the part of anywidget that runs in the browser themselves
    server = _server()
    if server is None:
        places = [Path(sys.prefix) / "share/jupyter", *_shared()]
        where = "of this environment"
    else:
        places = [server / "share/jupyter", *_shared()]
        where = f"in {server}"
    missing = [name for name in LAB_EXTENSIONS if _extension(name, places) is None]
    # Without a server in sight nothing is known to be wrong, only what would be if it ran here.
    verdict = "broken" if missing and server is not None else "note" if missing else "works"
    if missing:
        python = str(server / "bin/python") if server is not None and server != Path(sys.prefix) else ""
        why = f"{', '.join(missing)}: not among the extensions {where}, so the page shows an empty place."
        if python:
            why += f" The kernel runs in another environment, {sys.prefix}; installing there does not help the server."
        repair = _pip("anywidget", "ipywidgets", python=python) + "   # then start Jupyter again and reload the page"
        yield Finding("Jupyter server", f"extensions missing {where}", verdict, why, repair)
        return
    version, own = _extension("anywidget", places), _version("anywidget") or ""
    if version and version.split(".")[:2] != own.split(".")[:2]:
        why = f"The kernel has anywidget {own}; kernel and server should have the same."
        python = str(server / "bin/python") if server else ""
        yield Finding(
            "Jupyter server", f"anywidget {version} {where}", "note", why, _pip(f"anywidget=={own}", python=python)
        )
    else:
        yield Finding("Jupyter server", f"has anywidget {where}")


def _host() -> str | None:
    """The notebook that this runs in."""
    if "google.colab" in sys.modules:
        return "Colab"
    marimo = sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        return "marimo"
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return "Jupyter" if shell is not None and getattr(shell, "kernel", None) is not None else None


def _server() -> Path | None:
    """The environment of the Jupyter server that started this kernel, where that can be found out."""
    parent = os.environ.get("JPY_PARENT_PID", "")
    if not parent.isdecimal():
        return None
    try:
        # The name it was called by, not /proc/…/exe: that follows a virtual environment's link to the Python it is of.
        words = (PROC / parent / "cmdline").read_bytes().decode(errors="replace").split("\0")
        here = Path(os.readlink(PROC / parent / "cwd"))
    except OSError:
        return None
    if not any("jupyter" in word for word in words):
        return None  # VS Code, for one, starts kernels itself and shows widgets in its own way
    for word in words[:2]:
        if "/" in word and (here / word).parent.name == "bin":
            return Path(os.path.normpath((here / word).parent.parent))
    return None


def _shared() -> list[Path]:
    """Folders of Jupyter data that do not belong to an environment."""
    given = [Path(each) for each in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if each]
    try:
        from jupyter_core.paths import SYSTEM_JUPYTER_PATH, jupyter_data_dir
    except ImportError:
        return given
    return [*given, Path(jupyter_data_dir()), *map(Path, SYSTEM_JUPYTER_PATH)]


def _extension(name: str, places: list[Path]) -> str | None:
    """The version of a lab extension in the first place that has it."""
    for place in places:
        file = place / "labextensions" / name / "package.json"
        if file.is_file():
            return str(json.loads(file.read_text(encoding="utf-8")).get("version", ""))
    return None


# ---- the folder ------------------------------------------------------------------------------------------------------


def _feedback() -> Iterator[Finding]:
    here = Path.cwd()
    file = here / "xai_feedback.db"
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
        if file.exists() and not os.access(file, os.W_OK):
            raise PermissionError(f"{file.name} is read-only")
    except OSError as error:
        why = f"Judgements cannot be kept there: {error.strerror or error}."
        store = Path.home() / file.name
        yield Finding("feedback", str(here), "broken", why, f'xw.explain(model, image, store="{store}")')
        return
    yield Finding("feedback", f"{file}{'' if file.exists() else ', made at the first judgement'}")


CHECKS: list[Callable[[], Iterator[Finding]]] = [
    _python, _packages, _combinations, _devices, _front_end, _notebook, _feedback,
]  # fmt: skip


class _CallableModule(ModuleType):
    def __call__(self) -> Report:
        """Look at this installation, as `doctor`."""
        return doctor()


sys.modules[__name__].__class__ = _CallableModule
