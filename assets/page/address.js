// The tab that is shown stands in the address, as ?tab=<its id>: a reload keeps it, and Back goes to
// the one before. This holds for every gr.Tabs of the class "in-address", whichever tabs it has and
// whether it stands within a tab of another one; the ids of all their tabs must differ.

(() => {
  const NAME = "tab";
  const BARS = "in-address";
  const TABS = `.${BARS} [role="tab"]`;
  let first = null; // the tab that is shown where the address names none
  let ways = () => null; // id of a tab → ids of the tabs to choose in turn until it is seen
  let wanted = null; // the tab that is to be shown as soon as it can be

  const named = () => new URL(location.href).searchParams.get(NAME);
  const isOfBar = (button) => button.closest(".tabs").classList.contains(BARS);
  const buttons = () => [...document.querySelectorAll(TABS)].filter((button) => isOfBar(button) && button.checkVisibility());

  // [tabs, tab] of the page's configuration, outermost first, that lead to the tab of this id.
  function steps(config, id) {
    const parts = new Map(config.components.map((part) => [part.id, part]));
    const search = (node, bar, above) => {
      const part = parts.get(node.id);
      const here = bar && part?.type === "tabitem" ? [...above, [bar, part]] : above;
      if (here !== above && part.props.id === id) return here;
      const own = part?.type === "tabs" && part.props.elem_classes?.includes(BARS) ? part : null;
      for (const child of node.children || []) {
        const found = search(child, own, here);
        if (found) return found;
      }
      return null;
    };
    return search(config.layout, null, []);
  }

  // Before Gradio draws the page: it begins with the tab that the address names.
  function prepare(config) {
    const bar = config.components.find((part) => part.type === "tabs" && part.props.elem_classes?.includes(BARS));
    first = bar?.props.selected ?? null;
    ways = (id) => steps(config, id)?.map(([, tab]) => tab.props.id) ?? null;
    for (const [tabs, tab] of steps(config, named()) ?? []) {
      if (tab.props.visible === false) break; // shown to some people, and later
      tabs.props.selected = tab.props.id;
    }
    if (ways(named())) wanted = named();
  }

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
    for (const id of ways(wanted) ?? []) {
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
    if (wanted !== null && !arrive()) return;
    const button = buttons().filter((each) => each.getAttribute("aria-selected") === "true").at(-1);
    if (!button) return;
    const id = button.dataset.tabId;
    document.title = `${button.textContent.trim()} · Atelier`;
    if (wanted !== null && id !== wanted) return; // the click is on its way
    wanted = null;
    const known = named();
    if (id === (known ?? first)) return;
    write(id, known !== null && !ways(known) ? "replaceState" : "pushState");
  }

  const changes = new MutationObserver(look);
  const drawing = new MutationObserver(() => {
    if (!buttons().length) return;
    look();
    if (wanted === null) drawing.disconnect();
  });
  document.addEventListener("DOMContentLoaded", () => {
    changes.observe(document.body, { subtree: true, attributeFilter: ["aria-selected"] });
    drawing.observe(document.body, { subtree: true, childList: true });
  });
  // What a person chooses counts more than what the address has asked for.
  addEventListener("click", (event) => {
    if (event.isTrusted && event.target.closest?.(TABS)) wanted = null;
  }, true);
  addEventListener("popstate", () => {
    wanted = ways(named()) ? named() : first;
    look();
  });
})();
