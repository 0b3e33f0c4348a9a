"""A real Jupyter server, for JupyterLab and Notebook 7 alike, with every folder of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        for plugin, value in SETTINGS.items():
            file = folder / "settings" / f"{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(value))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        own = {
            "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython",
        }  # fmt: skip
        env = os.environ | {name: str(folder / sub) for name, sub in own.items()} | {"PYTHONPATH": str(ROOT)}
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.root}",
            "--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True",
            "--ServerApp.terminals_enabled=False", "--LabApp.news_url=",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.extension_manager=readonly",
            "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
        ]  # fmt: skip
        self.log = (folder / "server.log").open("wb")
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=subprocess.STDOUT, cwd=self.root)
        deadline = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "server.log").read_text())
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            self._get("/api/status")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return json.load(answer)

    def shutdown_kernels(self) -> None:
        for session in self._get("/api/sessions"):
            request = urllib.request.Request(f"{self.url}/api/sessions/{session['id']}", method="DELETE")
            urllib.request.urlopen(request, timeout=10).close()

    def stop(self) -> None:
        self.shutdown_kernels()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()

    def write(self, name: str, *cells: str) -> str:
        """A notebook of code cells."""
        made = [
            {"cell_type": "code", "id": f"c{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": cell}
            for i, cell in enumerate(cells)
        ]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": made}
        (self.root / name).write_text(json.dumps(content))
        return name


class NotebookPage:
    """A notebook open in a browser, in JupyterLab ("lab") or Notebook 7 ("notebook")."""

    READY = """async () => {
        const app = window.jupyterapp;
        await app.restored;
        const panel = await new Promise((ok) => { const f = () => {
            const w = app.shell.currentWidget;
            w && w.sessionContext && w.content && w.content.widgets ? ok(w) : setTimeout(f, 20); }; f(); });
        await panel.context.ready;
        await panel.sessionContext.ready;
        const kernel = panel.sessionContext.session.kernel;
        await kernel.info;
        window.kernelErrors = [];        // what a comm callback raises is shown nowhere else
        kernel.iopubMessage.connect((_, m) => { if (m.header.msg_type === 'error')
            window.kernelErrors.push(m.content.ename + ': ' + m.content.evalue); });
    }"""
    RUN = "name => window.jupyterapp.commands.execute(name)"
    EXEC = """async (code) => {
        const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        let out = ''; const f = kernel.requestExecute({code, store_history: false});
        f.onIOPub = m => { if (m.header.msg_type === 'stream') out += m.content.text;
                           if (m.header.msg_type === 'error') out += m.content.ename + ': ' + m.content.evalue; };
        await f.done; return out; }"""
    RESTART = """async () => {
        const context = window.jupyterapp.shell.currentWidget.sessionContext;
        await context.session.kernel.restart(); await context.session.kernel.info; }"""

    def __init__(self, page: Any, server: Server, app: str, name: str) -> None:
        self.page = page
        path = {"lab": f"/lab/tree/{name}?reset", "notebook": f"/notebooks/{name}"}[app]
        page.goto(server.url + path, wait_until="domcontentloaded")
        page.wait_for_function("window.jupyterapp", timeout=60_000)
        page.evaluate(self.READY)

    def run_all(self) -> None:
        """Run every cell; returns when the kernel has answered them all."""
        self.page.evaluate(self.RUN, "notebook:run-all-cells")

    def restart(self) -> None:
        self.page.evaluate(self.RESTART)

    def execute(self, code: str) -> str:
        """Run code in the notebook's kernel; not ordered with comm messages, which may run in another thread."""
        return self.page.evaluate(self.EXEC, code)

    def until(self, expression: str, timeout: float = 15.0) -> None:
        """Poll the kernel until `expression` is true there."""
        deadline = time.monotonic() + timeout
        while (out := self.execute(f"print(bool({expression}))")) != "True\n":
            assert time.monotonic() < deadline, (expression, out)
            time.sleep(0.05)

    @property
    def kernel_errors(self) -> list[str]:
        return self.page.evaluate("window.kernelErrors")
