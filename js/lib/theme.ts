/** Light or dark, as the host says it, or the system where no host does; JupyterLab's theme is no media query. */

export function darkTheme(): boolean {
  const { body, documentElement: html } = document;
  const jupyter = body.dataset.jpThemeLight;
  if (jupyter) return jupyter === "false";
  const kind = body.dataset.vscodeThemeKind;
  if (kind) return kind.includes("dark") || kind === "vscode-high-contrast";
  const named = html.getAttribute("theme") ?? html.dataset.theme ?? body.dataset.theme;
  if (named) return named === "dark";
  if (body.classList.contains("dark") || html.classList.contains("dark")) return true;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Keep `root.dataset.theme` right for as long as the signal lasts; `changed` is called after each switch. */
export function followTheme(root: HTMLElement, changed: () => void, signal: AbortSignal): void {
  const apply = (): void => {
    const theme = darkTheme() ? "dark" : "light";
    if (root.dataset.theme === theme) return;
    root.dataset.theme = theme;
    changed();
  };
  const observer = new MutationObserver(apply);
  for (const node of [document.body, document.documentElement]) observer.observe(node, { attributes: true });
  signal.addEventListener("abort", () => observer.disconnect());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply, { signal });
  apply();
}
