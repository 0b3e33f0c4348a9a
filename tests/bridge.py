"""A real widget and a real browser with no Jupyter in between: the comm is a Playwright binding.

The kernel's messages wait in an outbox until the test pumps them, because Playwright's objects belong to the test's
thread and the widget sends from its worker.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from comm.base_comm import BaseComm

HOST = """
const b64 = (s) => new DataView(Uint8Array.from(atob(s), (c) => c.charCodeAt(0)).buffer);
const toB64 = (v) => btoa(String.fromCharCode(...new Uint8Array(v.buffer ?? v, v.byteOffset ?? 0, v.byteLength)));
const put = (state, paths, buffers) => {
  paths.forEach((path, i) => { path.slice(0, -1).reduce((o, k) => o[k], state)[path.at(-1)] = b64(buffers[i]); });
  return state;
};
window.models = {};
window.sent = [];                        // every message that left the page: [method, what]
window.openModel = async (id, esm, open) => {
  const state = put(open.data.state, open.data.buffer_paths, open.buffers), listeners = {};
  const emit = (n, ...a) => [...(listeners[n] ?? [])].forEach((f) => f(...a));
  let dirty = {};
  const model = {
    get: (k) => state[k],
    set(k, v) {
      if (state[k] === v) return;
      state[k] = v; dirty[k] = v;
      emit('change:' + k, model, v); emit('change', model);
    },
    on(n, f) { n.split(' ').forEach((k) => (listeners[k] ??= new Set()).add(f)); },
    off(n, f) {
      if (!n) return Object.keys(listeners).forEach((k) => delete listeners[k]);
      n.split(' ').forEach((k) => f ? listeners[k]?.delete(f) : delete listeners[k]);
    },
    save_changes() {
      const changed = dirty; dirty = {};
      if (!Object.keys(changed).length) return;
      window.sent.push(['update', Object.keys(changed)]);
      window.toKernel(id, { method: 'update', state: changed, buffer_paths: [] }, []);
    },
    send(content, _callbacks, buffers = []) {
      window.sent.push(['custom', content.kind]);
      window.toKernel(id, { method: 'custom', content }, buffers.map(toB64));
    },
  };
  const url = URL.createObjectURL(new Blob([esm], { type: 'text/javascript' }));
  const module = (await import(url)).default;
  const widget = typeof module === 'function' ? await module() : module;
  const life = new AbortController();
  await widget.initialize?.({ model, signal: life.signal });
  const views = [];
  window.models[id] = {
    listeners: () => Object.values(listeners).reduce((n, set) => n + set.size, 0),
    receive(message) {
      const { data } = message;
      if (data.method === 'custom') emit('msg:custom', data.content, message.buffers.map(b64));
      if (data.method !== 'update') return;
      const changed = put(data.state, data.buffer_paths, message.buffers);
      Object.assign(state, changed);
      Object.keys(changed).forEach((k) => emit('change:' + k, model, changed[k]));
      emit('change', model);
    },
    async show(parent) {
      const el = (parent ?? document.body).appendChild(document.createElement('div'));
      const view = new AbortController();
      const cleanup = await widget.render({ model, el, signal: view.signal, experimental: {} });
      views.push({ el, close: async () => { view.abort(); await cleanup?.(); el.remove(); } });
    },
    closeView: (i) => views[i].close(),
    state,
  };
};
"""


class BridgeComm(BaseComm):
    """Keeps what the kernel publishes until the page is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.outbox: list[dict] = []
        self.lock = threading.Lock()
        super().__init__(*args, **kwargs)

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        message = {
            "type": msg_type,
            "data": json.loads(json.dumps(data)),  # a numpy number must fail here as it does in Jupyter
            "buffers": [base64.b64encode(bytes(b)).decode() for b in buffers or []],
        }
        with self.lock:
            self.outbox.append(message)

    def take(self) -> list[dict]:
        with self.lock:
            out, self.outbox = self.outbox, []
        return out


class Bridge:
    """One page that can hold several widgets, each with several views."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.comms: dict[str, BridgeComm] = {}
        page.expose_binding("toKernel", self._to_kernel)
        page.set_content(
            "<!doctype html><html lang=en><meta charset=utf-8><title>bridge</title>"
            "<style>body{margin:0;padding:8px;background:var(--jp-layout-color0,#fff)}</style><body></body></html>"
        )
        page.add_script_tag(content=HOST)

    def show(self, widget: Any) -> str:
        """Open a widget (or another view of it); returns its id."""
        number = widget.model_id
        if number not in self.comms:
            comm = self.comms[number] = widget.comm
            first, *rest = comm.take()
            self.page.add_style_tag(content=widget._css)
            self.page.evaluate("a => window.openModel(...a)", [number, widget._esm, first])
            with comm.lock:
                comm.outbox = rest + comm.outbox
        self.page.evaluate("id => window.models[id].show()", number)
        self.pump()
        return number

    def _to_kernel(self, _source: Any, number: str, data: dict, buffers: list[str]) -> None:
        views = [memoryview(base64.b64decode(b)) for b in buffers]
        self.comms[number].handle_msg({"content": {"data": data}, "buffers": views})

    def pump(self) -> None:
        """Deliver what the kernel has published so far."""
        for number, comm in self.comms.items():
            for message in comm.take():
                self.page.evaluate("([id, m]) => window.models[id]?.receive(m)", [number, message])

    def until(self, condition: Callable[[], Any], what: str = "", timeout: float = 20.0) -> Any:
        """Pump until `condition` holds, and return what it returned."""
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            assert time.monotonic() < deadline, f"timed out waiting for {what or condition}"
            self.pump()
            self.page.wait_for_timeout(10)
        return found
