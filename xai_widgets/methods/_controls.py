"""What the controls share."""

from __future__ import annotations

NOTE = "A control: the model was not asked. Whatever looks convincing here does so without having seen it."
