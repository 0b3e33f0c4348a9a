"""One file a method. Each holds ``INFO``, a `registry.MethodInfo`; a new file is found without touching another.

The package has the name of a public function, so it can be called like one: ``xw.methods()`` lists the methods.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xai_widgets.registry import MethodTable


class _CallablePackage(ModuleType):
    def __call__(self) -> MethodTable:
        """Every method: name, family, what it needs, its parameters and their limits."""
        from xai_widgets.registry import methods

        return methods()


sys.modules[__name__].__class__ = _CallablePackage
