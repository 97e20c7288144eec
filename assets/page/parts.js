// What a tab needs is built when it is opened. The page comes with the tab that it begins with; what
// the others need is fetched, and put into Gradio's tree of components, when they are opened or when
// an event concerns them. studio/page/parts.py is the server's side; studio/page/gradio_script.py
// has Gradio's script call atelier.drawn, and its tree has graft(). Without those nothing is split.

(() => {
  let parts = {}; // tab → {root: the id of its component}
  let partOf = {}; // component that listeners elsewhere name → its tab
  let partOfState = {}; // the same of states
  let tree, listeners;
  let begin;
  const begun = new Promise((resolve) => (begin = resolve)); // Gradio's page is there, and has loaded
  const fetched = new Map(); // tab → promise of its part
  const opened = new Map(); // tab → promise, kept when it is built and filled
  const done = new Set(); // tabs that are built and filled
  const tabOf = new WeakMap(); // inputs and outputs of a listener → its tab
  const nameOf = new Map(); // component → the id of its element
  const changedSince = new WeakMap(); // outputs of a listener that fills a tab → names of what somebody has changed meanwhile

  // Before Gradio draws the page with the tab `id`.
  function prepare(config, id) {
    if (!config.parts) return;
    ({ parts, part_of: partOf, states: partOfState } = config);
    const here = Object.keys(parts).find((name) => parts[name].listeners);
    if (!parts[id] || id === here) {
      done.add(here);
      return;
    }
    fetched.set(here, Promise.resolve(takeOut(config, parts[here])));
    get(id);
  }

  // The tab that came with the page, when another one is shown: it waits as the others do.
  function takeOut(config, { root, listeners: ids }) {
    const find = (node) => (node.id === root ? node : (node.children ?? []).map(find).find(Boolean));
    const place = find(config.layout);
    const layout = { ...place };
    place.children = [];
    const inside = new Set();
    const note = (node) => (node.children ?? []).forEach((child) => (inside.add(child.id), note(child)));
    note(layout);
    const own = new Set(ids);
    const part = {
      layout,
      components: config.components.filter((each) => inside.has(each.id)),
      dependencies: config.dependencies.filter((each) => own.has(each.id)),
    };
    config.components = config.components.filter((each) => !inside.has(each.id));
    config.dependencies = config.dependencies.filter((each) => !own.has(each.id));
    config.page[""].layout = config.layout; // what Gradio draws
    return part;
  }

  async function load(id) {
    const answer = await fetch(`tabs/${id}.json`);
    if (!answer.ok) throw new Error(`${answer.status} of the tab ${id}`);
    return answer.json();
  }

  function get(id) {
    if (!fetched.has(id)) {
      fetched.set(id, load(id));
      fetched.get(id).catch(() => fetched.delete(id)); // the next one who asks tries again
    }
    return fetched.get(id);
  }

  async function graft(id) {
    const [{ components, layout, dependencies }] = await Promise.all([get(id), begun]);
    const { config } = listeners.client;
    for (const { id: component, props } of components) nameOf.set(component, props.elem_id);
    config.components = [...config.components, ...components];
    config.dependencies = [...config.dependencies, ...dependencies];
    const { by_id: own, by_event: events } = listeners.create(dependencies);
    listeners.register_loading_stati(own);
    for (const [number, each] of own) {
      listeners.dependencies_by_fn.set(number, each);
      for (const ids of [each.inputs, each.outputs]) tabOf.set(ids, id);
    }
    const all = listeners.dependencies_by_event;
    for (const [event, some] of events) all.set(event, [...(all.get(event) ?? []), ...some]);
    tree.graft(components, layout, dependencies);
    fetched.delete(id);
    return own;
  }

  // Builds a tab and tells its listeners that it is seen; waits for those that fill it. What somebody
  // changes before they have answered stays.
  async function meet(id) {
    const [filling, changed] = [[], new Set()];
    const note = (event) => {
      if (event.type === "mousedown" && !event.target.closest("[role=option]")) return; // of a list
      for (let each = event.target; each; each = each.parentElement) if (each.id) changed.add(each.id);
    };
    const moments = ["input", "change", "mousedown"];
    const own = await graft(id);
    for (const moment of moments) document.addEventListener(moment, note, true);
    try {
      for (const [number, each] of own) {
        const fills = parts[id].fills.includes(number);
        if (fills) changedSince.set(each.outputs, changed);
        for (const [target, event] of each.targets) {
          if (event !== "load") continue;
          const told = listeners.dispatch({ type: "fn", fn_index: number, target_id: target, event_data: null });
          if (fills) filling.push(told);
        }
      }
      await Promise.all(filling);
    } finally {
      for (const moment of moments) document.removeEventListener(moment, note, true);
    }
    await new Promise((resolve) => setTimeout(resolve)); // drafts are put back at once then
    done.add(id);
  }

  function open(id) {
    if (done.has(id)) return Promise.resolve();
    if (!opened.has(id)) {
      opened.set(id, meet(id));
      opened.get(id).catch(() => opened.delete(id));
    }
    return opened.get(id);
  }

  function show(id) {
    if (parts[id]) open(id).catch((error) => complain(id, error));
  }

  function complain(id, error) {
    console.warn(error);
    const panels = [...document.querySelectorAll(".in-address > [role=tabpanel]")];
    const panel = panels.filter((each) => each.checkVisibility()).at(-1);
    if (!panel || panel.querySelector(".unreachable")) return;
    const words = Object.assign(document.createElement("p"), { className: "error unreachable", role: "alert", textContent: atelier.unreachable });
    const again = Object.assign(document.createElement("button"), { type: "button", className: "again", textContent: atelier.again });
    again.addEventListener("click", () => (words.remove(), show(id)));
    words.append(" ", again);
    panel.append(words);
  }

  // The tabs that have to be opened before something is done with these components: what is sent to a
  // tab comes after what it is filled with when it is first seen.
  const listMissing = (ids, tabs, own) => [...new Set(ids.map((id) => tabs[id]))].filter((tab) => tab !== undefined && tab !== own && !done.has(tab));
  // An update that changes nothing has its type alone, and where it is of HTML such props as well.
  const isChange = (value) =>
    value?.__type__ === "update"
      ? Object.entries(value).some(([name, part]) => name !== "__type__" && (name !== "props" || isChange(part)))
      : value !== undefined;

  // Gradio has made its tree and its listeners.
  atelier.drawn = (itsTree, itsListeners) => {
    [tree, listeners] = [itsTree, itsListeners];
    tree.ready.then(() => setTimeout(begin)); // once the listeners of the first part have been told
    const before = (name, wanted) => {
      const own = listeners[name].bind(listeners);
      listeners[name] = (...given) => {
        const tabs = wanted(...given);
        return tabs.length ? Promise.all(tabs.map(open)).then(() => own(...given)) : own(...given);
      };
    };
    before("gather_state", (inputs) => listMissing(inputs, partOf, tabOf.get(inputs)));
    const handle = listeners.handle_data.bind(listeners);
    listeners.handle_data = (outputs, data) => {
      const meanwhile = changedSince.get(outputs);
      if (meanwhile?.size) data = data.map((value, place) => (meanwhile.has(nameOf.get(outputs[place])) ? { __type__: "update" } : value));
      const own = tabOf.get(outputs);
      const changed = outputs.map((_, place) => place).filter((place) => isChange(data[place]));
      const tabs = listMissing(changed.map((place) => outputs[place]), partOf, own);
      if (!tabs.length) return handle(outputs, data);
      // What is here changes at once: the bar shows the tab while that is still being built.
      const pick = (places) => handle(places.map((place) => outputs[place]), places.map((place) => data[place]));
      const isLate = (place) => tabs.includes(partOf[outputs[place]]);
      const late = () => pick(changed.filter(isLate));
      return Promise.all([pick(changed.filter((place) => !isLate(place))), Promise.all(tabs.map(open)).then(late)]);
    };
    before("dispatch_state_change_events", (event) => listMissing(event.changed_state_ids ?? [], partOfState));
  };

  atelier.parts = { prepare, show };
})();
