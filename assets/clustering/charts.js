// Charts of clusterings (studio/features/clustering/charts/drawing.py): runs once for each HTML component that shows
// them. Events: line {name: "eps" | "clusters", value}, pick {algorithm}.

const SETTLE = 350; // ms after the last key until it is told

// --- a line that is dragged: eps on sorted distances, k on a dendrogram ---

const currentValue = (line) => Number(line.getAttribute("aria-valuenow"));

function treeOf(line) {
  const figure = line.closest("[data-tree]");
  return figure && (figure.tree ??= JSON.parse(figure.dataset.tree));
}

// Where it is put, as a share of the axis; what that means is shown at once.
function put(line, share) {
  const low = Number(line.dataset.low);
  const high = Number(line.dataset.high);
  const tree = treeOf(line);
  const value = low + Math.max(0, Math.min(1, share)) * (high - low);
  if (tree) {
    const k = 1 + tree.heights.filter((height) => height > value).length;
    say(line, k);
    lift(line, (value - low) / (high - low));
    paint(line, k);
  } else {
    const eps = Number(Math.max(value, high / 1000).toPrecision(3));
    say(line, eps);
    lift(line, (eps - low) / (high - low));
    read(line, eps);
  }
}

function lift(line, share) {
  line.setAttribute("y", `${100 - 100 * share}%`);
}

function say(line, value) {
  line.setAttribute("aria-valuenow", value);
  line.querySelector(".value").textContent = line.dataset.words.replace("{value}", value);
  line.querySelector(".pill").setAttribute("width", line.querySelector("text").getComputedTextLength() + 18);
}

// As cut_height of studio/features/clustering/charts/dendrogram.py: halfway between two merges.
function middle(tree, k) {
  const merges = tree.heights.length;
  const above = k > 1 ? tree.heights[merges - k + 1] : tree.high;
  const below = k <= merges ? tree.heights[merges - k] : tree.floor;
  return (above + below) / 2;
}

function cutInto(line, k) {
  const tree = treeOf(line);
  k = Math.max(1, Math.min(k, tree.leaves.length));
  say(line, k);
  lift(line, middle(tree, k) / tree.high);
  paint(line, k);
}

// As Tree.clusters: clusters are numbered by their first points, as labels are.
function paint(line, k) {
  const { leaves, firsts, merges } = treeOf(line);
  const cut = merges.length - (k - 1);
  const first = (node) => {
    while (node >= leaves.length) node = merges[node - leaves.length][0];
    return firsts[node];
  };
  const roots = [];
  const above = [leaves.length + merges.length - 1];
  while (above.length) {
    const node = above.pop();
    if (node - leaves.length >= cut) above.push(...merges[node - leaves.length]);
    else roots.push(node);
  }
  const cluster = new Map();
  roots.sort((one, other) => first(one) - first(other)).forEach((root, label) => {
    const below = [root];
    while (below.length) {
      const node = below.pop();
      cluster.set(node, label);
      if (node >= leaves.length) below.push(...merges[node - leaves.length]);
    }
  });
  for (const branch of line.closest(".chart").querySelectorAll(".branch")) {
    const label = cluster.get(Number(branch.dataset.node));
    const again = Math.floor(label / 8) % 2 ? " again" : "";
    branch.setAttribute("class", label === undefined ? "branch cut" : `branch k${label % 8}${again}`);
  }
}

// Of the sorted distances, how many are at most eps.
function read(line, eps) {
  const figure = line.closest("[data-values]");
  const words = figure?.querySelector(".reading");
  if (!words) return;
  const values = (figure.values ??= JSON.parse(figure.dataset.values));
  const share = values.filter((value) => value <= eps).length / values.length;
  const shown = share && share < 1 ? (100 * share).toFixed(1) : (100 * share).toFixed(0);
  words.textContent = words.dataset.words.replace("{share}", `${shown} %`);
}

function tell(line) {
  clearTimeout(line.telling);
  trigger("line", { name: line.dataset.line, value: currentValue(line) });
}

element.addEventListener("pointerdown", (event) => {
  const line = event.target.closest(".dragged");
  if (!line || event.button) return;
  event.preventDefault();
  line.focus({ preventScroll: true });
  line.setPointerCapture(event.pointerId);
  line.classList.add("moving");
  const frame = line.parentElement.querySelector(".frame").getBoundingClientRect();
  const box = line.querySelector("line").getBoundingClientRect();
  const grip = event.clientY - (box.top + box.bottom) / 2; // where it was taken, from the line
  let moved = false;
  const move = (next) => {
    if (!moved && Math.abs(next.clientY - event.clientY) < 2) return;
    moved = true;
    put(line, (frame.bottom - (next.clientY - grip)) / frame.height);
  };
  const end = () => {
    line.removeEventListener("pointermove", move);
    line.removeEventListener("pointerup", end);
    line.removeEventListener("pointercancel", end);
    line.classList.remove("moving");
    if (!moved) return;
    if (treeOf(line)) cutInto(line, currentValue(line));
    tell(line);
  };
  line.addEventListener("pointermove", move);
  line.addEventListener("pointerup", end);
  line.addEventListener("pointercancel", end);
});

const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };

element.addEventListener("keydown", (event) => {
  const menu = event.target.closest(".save[open]");
  if (menu && event.key === "Escape") {
    menu.open = false;
    menu.firstElementChild.focus();
  }
  const mark = event.target.closest("[data-k]");
  if (mark && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    take(mark);
  }
  const line = event.target.closest(".dragged");
  if (!line) return;
  const ends = { Home: -Infinity, End: Infinity };
  const step = STEPS[event.key] ?? ends[event.key];
  if (step === undefined) return;
  event.preventDefault();
  if (treeOf(line)) {
    // What is further up has fewer clusters; the number goes by left and right.
    const sign = event.key === "ArrowUp" || event.key === "ArrowDown" ? -1 : 1;
    cutInto(line, currentValue(line) + sign * Math.max(-1e6, Math.min(1e6, step)));
  } else {
    const low = Number(line.dataset.low);
    const high = Number(line.dataset.high);
    const share = (currentValue(line) - low) / (high - low) + step / 200;
    put(line, Number.isFinite(share) ? share : step > 0 ? 1 : 0);
  }
  clearTimeout(line.telling);
  line.telling = setTimeout(() => tell(line), SETTLE);
});

// --- marks, cards, colours that are clicked ---

function press(chosen, all) {
  for (const each of all) each.setAttribute("aria-pressed", String(each === chosen));
}

function take(mark) {
  press(mark, mark.closest("figure").querySelectorAll("[data-k]"));
  trigger("line", { name: "clusters", value: Number(mark.dataset.k) });
}

element.addEventListener("click", async (event) => {
  const mark = event.target.closest("[data-k]");
  const card = event.target.closest("button[data-algorithm]");
  const colour = event.target.closest("[data-copy]");
  const format = event.target.closest("[data-save]");
  if (mark) take(mark);
  if (card) {
    press(card, card.parentElement.querySelectorAll("button[data-algorithm]"));
    trigger("pick", { algorithm: card.dataset.algorithm });
  }
  if (format) {
    const menu = format.closest("details");
    menu.open = false;
    menu.firstElementChild.focus({ preventScroll: true });
    const { saveChart } = await import(new URL("scripts/clustering/saving.js", document.baseURI).href);
    await saveChart(format.closest("[data-file]"), format.dataset.save);
  }
  if (colour) {
    try {
      await navigator.clipboard.writeText(colour.dataset.copy);
    } catch {
      return; // without HTTPS there is no clipboard; the colour can be read
    }
    const shown = colour.querySelector("code");
    shown.textContent = colour.closest("[data-copied]").dataset.copied;
    setTimeout(() => (shown.textContent = colour.dataset.copy), 1200);
  }
});

element.addEventListener("focusout", (event) => {
  const menu = event.target.closest(".save");
  if (menu && !menu.contains(event.relatedTarget)) menu.open = false;
});
