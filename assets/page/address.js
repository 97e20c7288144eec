// The tab that is shown stands in the address, as ?tab=<its id>: a reload keeps it, and Back goes to
// the one before. This holds for every gr.Tabs of the class "in-address", whichever tabs it has and
// whether it stands within a tab of another one; the ids of all their tabs must differ. An address
// may also name a tab that holds others, or a tab by a name that it had before.

(() => {
  const NAME = "tab";
  const BARS = "in-address";
  const TABS = `.${BARS} [role="tab"]`;
  const ways = new Map(); // id of a tab → ids of the tabs to choose in turn until it is seen
  const groups = new Set(); // ids of the tabs that hold others
  let former = {}; // name that a tab had before → its id
  let first = null; // the tab that is shown where the address names none
  let wanted = null; // the tab that is to be shown as soon as it can be

  const nameInAddress = () => new URL(location.href).searchParams.get(NAME);
  const knownName = (name) => (ways.has(name) ? name : ways.has(former[name]) ? former[name] : null);
  const isOfBar = (button) => button.closest(".tabs").classList.contains(BARS);
  const buttons = () => [...document.querySelectorAll(TABS)].filter((button) => isOfBar(button) && button.checkVisibility());

  // Calls with each tab of the bars and [bar, tab] of those it stands in, itself the last.
  function walk(parts, node, bar, above, call) {
    const part = parts.get(node.id);
    const here = bar && part?.type === "tabitem" ? [...above, [bar, part]] : above;
    if (here !== above) call(here);
    const own = part?.type === "tabs" && part.props.elem_classes?.includes(BARS) ? part : null;
    for (const child of node.children || []) walk(parts, child, own, here, call);
  }

  // Before Gradio draws the page: it begins with the tab that the address names.
  function prepare(config) {
    const parts = new Map(config.components.map((part) => [part.id, part]));
    const steps = new Map();
    walk(parts, config.layout, null, [], (way) => {
      const ids = way.map(([, tab]) => tab.props.id);
      steps.set(ids.at(-1), way);
      ways.set(ids.at(-1), ids);
      ids.slice(0, -1).forEach((id) => groups.add(id));
      if (way.every(([bar, tab]) => bar.props.selected === tab.props.id)) first = ids.at(-1);
    });
    former = config.former_tabs ?? {};
    wanted = knownName(nameInAddress());
    for (const [bar, tab] of steps.get(wanted) ?? []) {
      if (tab.props.visible === false) break; // shown to some people, and later
      bar.props.selected = tab.props.id;
    }
    atelier.parts.prepare(config, leaf(wanted ?? first));
  }

  // The tab that is seen when this one is chosen, which may hold others.
  const leaf = (id) => (groups.has(id) ? [...ways].find(([other, way]) => !groups.has(other) && way.includes(id))[0] : id);

  let config;
  Object.defineProperty(window, "gradio_config", {
    configurable: true,
    get: () => config,
    set: (value) => {
      config = value;
      if (value?.layout) prepare(value);
    },
  });

  // Chooses what is not chosen yet on the way to the wanted tab; whether all of it is.
  function arrive() {
    const drawn = new Map(buttons().map((button) => [button.dataset.tabId, button]));
    for (const id of ways.get(wanted) ?? []) {
      const button = drawn.get(id);
      if (!button) return false;
      if (button.getAttribute("aria-selected") !== "true") button.click();
    }
    return true;
  }

  function write(id, how) {
    const address = new URL(location.href);
    address.searchParams.set(NAME, id);
    history[how](history.state, "", address);
  }

  function look() {
    if (wanted !== null && !arrive()) return waitUntilDrawn();
    const button = buttons().filter((each) => each.getAttribute("aria-selected") === "true").at(-1);
    const id = button?.dataset.tabId;
    if (!button || groups.has(id)) return waitUntilDrawn(); // for the tabs of a group that is opened first
    atelier.parts.show(id);
    document.title = `${button.textContent.trim()} · Atelier`;
    if (wanted !== null && !ways.get(id)?.includes(wanted)) return waitUntilDrawn(); // the click is on its way
    wanted = null;
    const name = nameInAddress();
    if (id === (name ?? first)) return;
    const isElsewhere = name === null || (ways.has(name) && !ways.get(id).includes(name));
    write(id, isElsewhere ? "pushState" : "replaceState");
  }

  const changes = new MutationObserver(look);
  const drawing = new MutationObserver(() => {
    drawing.disconnect(); // look() waits anew for what is not there yet
    look();
  });
  const waitUntilDrawn = () => drawing.observe(document.body, { subtree: true, childList: true });
  document.addEventListener("DOMContentLoaded", () => {
    changes.observe(document.body, { subtree: true, attributeFilter: ["aria-selected"] });
    waitUntilDrawn();
  });
  // What a person chooses counts more than what the address has asked for.
  addEventListener("click", (event) => {
    if (event.isTrusted && event.target.closest?.(TABS)) wanted = null;
  }, true);
  addEventListener("popstate", () => {
    wanted = knownName(nameInAddress()) ?? first;
    look();
  });
})();
