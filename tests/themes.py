"""JupyterLab's own colours, for pages without JupyterLab."""

from __future__ import annotations

from typing import Any

THEMES: dict[str, dict[str, str]] = {
    "light": {
        "--jp-layout-color0": "#fff", "--jp-layout-color1": "#fff", "--jp-layout-color2": "#eee",
        "--jp-ui-font-color0": "#000", "--jp-ui-font-color1": "rgba(0,0,0,.87)", "--jp-border-color1": "#bdbdbd",
        "--jp-border-color2": "#e0e0e0", "--jp-brand-color1": "#1976d2", "--jp-brand-color2": "#64b5f6",
        "--jp-error-color1": "#d32f2f", "--jp-border-radius": "2px",
    },
    "dark": {
        "--jp-layout-color0": "#111", "--jp-layout-color1": "#212121", "--jp-layout-color2": "#424242",
        "--jp-ui-font-color0": "#fff", "--jp-ui-font-color1": "rgba(255,255,255,.87)", "--jp-border-color1": "#616161",
        "--jp-border-color2": "#424242", "--jp-brand-color1": "#2196f3", "--jp-brand-color2": "#64b5f6",
        "--jp-error-color1": "#d32f2f", "--jp-border-radius": "2px",
    },
}  # fmt: skip


def apply_theme(page: Any, name: str) -> None:
    """What JupyterLab does when the theme is switched: variables and an attribute on the body."""
    page.evaluate(
        "([name, vars]) => { for (const [k, v] of Object.entries(vars)) document.body.style.setProperty(k, v);"
        " document.body.dataset.jpThemeLight = String(name === 'light'); }",
        [name, THEMES[name]],
    )
