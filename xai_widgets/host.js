// Shows widgets in a page without Jupyter and without a network: the smallest host of the anywidget protocol.
// The page defines window.xaiWidgets = {esm, css, models: {id: {state, buffers}}}; each element with data-xai-model gets a view.
(async () => {
  const { esm, css, models } = window.xaiWidgets;
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

  /** State without its buffers, plus [{path, data}] → state with a DataView at each path. */
  const restore = ({ state, buffers }) => {
    for (const { path, data } of buffers) {
      const parent = path.slice(0, -1).reduce((value, key) => value[key], state);
      parent[path.at(-1)] = bytes(data);
    }
    return state;
  };

  /** What a view sees of a model when there is no kernel: it can look and change, and nobody answers. */
  const offlineModel = (state) => {
    const listeners = new Map();
    const emit = (name) => [...(listeners.get(name) ?? [])].forEach((listener) => listener());
    return {
      get: (key) => state[key],
      set(key, value) {
        if (state[key] === value) return;
        state[key] = value;
        emit(`change:${key}`);
        emit("change");
      },
      save_changes() {},
      send() {},
      on: (name, listener) => listeners.set(name, (listeners.get(name) ?? new Set()).add(listener)),
      off: (name, listener) => listeners.get(name)?.delete(listener),
    };
  };

  const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  const { default: factory } = await import(url);
  const known = new Map();
  for (const el of document.querySelectorAll("[data-xai-model]")) {
    const id = el.dataset.xaiModel;
    if (!models[id]) continue;
    const signal = new AbortController().signal;
    if (!known.has(id)) {
      const model = offlineModel(restore(models[id]));
      const widget = typeof factory === "function" ? await factory() : factory;
      await widget.initialize?.({ model, signal });
      known.set(id, { model, widget });
    }
    const { model, widget } = known.get(id);
    await widget.render({ model, el, signal });
  }
})();
