"""Builds the front end into the wheel and the sdist; hatch runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = ("xai_widgets/static/widget.js", "xai_widgets/static/widget.css")


class FrontEnd(BuildHookInterface):
    """Runs npm where the built files are missing; an sdist has them, so installing from one needs no npm."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before each build; `version` is "editable" for ``pip install -e``."""
        root = Path(self.root)
        # A checkout builds its front end itself, and again whenever it changes: see the Makefile.
        if version == "editable" or os.environ.get("XAI_SKIP_NPM") == "1" or _missing(root) == []:
            return
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(
                f"{_missing(root)[0]} is not built, and building it needs npm, which is not on the PATH. "
                "Install Node.js 20 or newer, or set XAI_SKIP_NPM=1 to build a package without the widget."
            )
        for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            self.app.display_info(f"npm {' '.join(command)}")
            subprocess.run([npm, *command], cwd=root, check=True)
        if _missing(root):
            raise RuntimeError(f"npm run build did not make {', '.join(_missing(root))}.")


def _missing(root: Path) -> list[str]:
    return [name for name in BUILT if not (root / name).is_file()]
