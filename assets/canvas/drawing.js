// The drawing canvas of studio/page/components/canvas.py. Runs once for each canvas when it is shown, with Gradio's
// `element`, `props`, `trigger` and `watch`; before it stand NAME, the canvas's own, WORDS, its texts
// by language, and strokes.js.
//
// props.value is the id of the picture as the server keeps it, "" while the canvas is empty, or
// OFFERED followed by an id, or by nothing: the picture of the last request, for a browser tab that
// has no drawing of its own. Each change of the drawing is sent to the server, and comes back as
// another id. A drawing is a ground (white, or a picture) and strokes on it, which are painted again
// to undo one. It is kept in sessionStorage, which survives a reload and is another one in each of
// the browser's tabs.
//
// window.atelierCanvasSize is the width and height of the result, whose proportions an empty canvas takes.

const LONGEST = 1024; // pixels of the longer side of a picture that is drawn upon; at least SIDE
const HIGHEST = 420; // CSS pixels: as in page.css
const ACCEPTED = ["image/png", "image/jpeg", "image/webp"];
const OFFERED = "offered:"; // as in studio/page/components/canvas.py
const UNSENT = "unsent"; // likewise: what is on the canvas has not reached the server
const KEPT = `atelier-drawing:${window.atelier?.person}:${NAME}`;

const language = (navigator.language || "en").split("-")[0];
const words = WORDS[language] || WORDS.en;
const find = (selector) => element.querySelector(selector);
const canvas = find("canvas");
const frame = find(".canvas-frame");
const said = find(".said");
const view = canvas.getContext("2d");
const ink = document.createElement("canvas"); // the strokes alone, so that the eraser spares a photo
const strokes = ink.getContext("2d");

let tool = { size: 6, colour: find("[data-colour]").dataset.colour, erases: false };
let done = []; // what was done, oldest first: {ground, id} or {stroke}; a stroke has its canvas's size
let undone = [];
let stroke = null; // the one that is being drawn
let drawn = ""; // the id of the last drawing sent from here, which the next one takes the place of
let older = ""; // that of the one before it: what Live still paints from while the next one is sent
let uploads = 0; // that are on their way, or wait for one another
let early = false; // whether a part of the stroke that is being drawn has been sent
let sending = Promise.resolve(); // one after the other
let version = 0; // rises with every change: answers to older ones are not looked at
let settledOn = ""; // the id that the page was told last
let unsent = false; // whether the server does not have what is on the canvas
let restored = false; // whether another tab of the browser may have the same drawing, and replace it

let shown; // the step whose ground is seen
let added = null; // at the sides: {left, top, right, bottom, unit}
let layer = null; // what lies over the canvas: {onGround, onResize}, told of another ground or size

const state = (window.atelierDrawings ||= {});
state[NAME] = {
  whenSettled,
  value: () => (unsent ? UNSENT : (props.value || "").replace(OFFERED, "")),
  fit: () => repaint(), // the result has another size
  canvas,
  ground: () => groundStep()?.id || "",
  transparent: () => groundStep()?.alpha || "", // id of a mask of the ground's transparent parts
  // Width and height of what is on the canvas, in pixels of its own.
  size: () => (ground() ? [ground().naturalWidth, ground().naturalHeight] : canvasSize()),
  lay(other) {
    layer = other;
  },
  extend(sides) {
    added = sides;
    arrange();
  },
};

// --- what is seen -------------------------------------------------------------------------------

function groundStep() {
  return done.findLast((step) => step.ground !== undefined);
}

function ground() {
  return groundStep()?.ground || null;
}

function canvasSize() {
  const picture = ground();
  if (picture) {
    const { naturalWidth: width, naturalHeight: height } = picture;
    const longer = Math.max(width, height);
    return scaleSize(width, height, Math.min(LONGEST, Math.max(SIDE, longer)) / longer);
  }
  const from = done.findLastIndex((step) => step.ground !== undefined);
  const first = done[from + 1]?.stroke || stroke;
  if (first) return first.paper; // what is drawn stays where it is
  const [width, height] = window.atelierCanvasSize || [SIDE, SIDE];
  return scaleSize(width, height, SIDE / Math.max(width, height));
}

function scaleSize(width, height, scale) {
  return [width, height].map((side) => Math.max(1, Math.round(side * scale)));
}

function resize() {
  const [width, height] = canvasSize();
  for (const each of [canvas, ink]) {
    if (each.width === width && each.height === height) continue; // to set them empties it
    each.width = width;
    each.height = height;
  }
}

function show() {
  const picture = ground();
  view.fillStyle = "white";
  view.fillRect(0, 0, canvas.width, canvas.height);
  if (picture) view.drawImage(picture, 0, 0, canvas.width, canvas.height);
  view.drawImage(ink, 0, 0);
}

function repaint() {
  resize();
  strokes.globalCompositeOperation = "source-over";
  strokes.clearRect(0, 0, ink.width, ink.height);
  const from = done.findLastIndex((step) => step.ground !== undefined);
  for (const step of done.slice(from + 1)) trace(strokes, step.stroke);
  if (stroke) trace(strokes, stroke);
  show();
  if (shown !== groundStep()) {
    shown = groundStep();
    layer?.onGround(shown?.id || "");
  }
  layer?.onResize();
  arrange();
  const last = done.at(-1);
  find(".canvas-hint").hidden = Boolean(stroke || ground() || (last && last.stroke));
  find('[data-do="undo"]').disabled = !done.length;
  find('[data-do="redo"]').disabled = !undone.length;
}

// Leaves room at the sides for what is to be added there, in proportion to the picture.
function arrange() {
  const margins = find(".margins");
  const [width, height] = state[NAME].size();
  const share = (side, length) => Math.max(0, (added.unit === "percent" ? (side * length) / 100 : side));
  const [left, right] = added ? [share(added.left, width), share(added.right, width)] : [0, 0];
  const [top, bottom] = added ? [share(added.top, height), share(added.bottom, height)] : [0, 0];
  const surfaces = frame.querySelectorAll("canvas");
  const grows = left + top + right + bottom > 0;
  margins.hidden = !grows;
  frame.classList.toggle("grows", grows);
  for (const each of surfaces) if (!grows) each.style.width = each.style.margin = "";
  if (!grows || !frame.clientWidth) return;
  const scale = Math.min(
    frame.clientWidth / (left + width + right), HIGHEST / (top + height + bottom), canvas.width / width,
  );
  const px = (...lengths) => lengths.map((length) => `${length * scale}px`).join(" ");
  for (const each of surfaces) {
    each.style.width = px(width);
    each.style.margin = px(top, right, bottom, left);
  }
  margins.style.width = px(left + width + right);
  margins.style.height = px(top + height + bottom);
}

function say(sentence) {
  said.textContent = sentence || "";
  said.hidden = !sentence;
}

// --- the server ---------------------------------------------------------------------------------

function settle(id) {
  settledOn = id;
  if (props.value === id) return;
  props.value = id;
  trigger("input");
}

// Sends a file, unless something newer is to be sent, and shows its id to the page.
function send(make, isDrawing, then = () => {}) {
  const mine = ++version;
  const before = sending;
  uploads += 1;
  say("");
  sending = (async () => {
    try {
      await before;
      if (mine !== version) return;
      const replaced = isDrawing ? (someLive("replaces") ? older : drawn) : "";
      const former = replaced ? `?instead_of=${replaced}` : "";
      const body = await make();
      const kept = await answer(
        fetch(`api/v1/inputs${former}`, { method: "POST", body }), words.offline,
      );
      older = isDrawing ? drawn : "";
      drawn = isDrawing ? kept.id : "";
      if (mine !== version) return;
      await then(kept);
      if (mine !== version) return;
      unsent = false;
      settle(kept.id);
      keep();
      say(kept.note);
    } catch (error) {
      if (mine === version) say(error.message);
    } finally {
      uploads -= 1;
    }
  })();
}

// Whether a switch Live (assets/live.js) `follows` this drawing while it is drawn, or `replaces` it.
function someLive(does) {
  return Object.values(window.atelierLive || {}).some((live) => live[does](NAME));
}

function sendDrawing() {
  unsent = true;
  send(() => new Promise((resolve) => asLargeAsTheGround().toBlob(resolve, "image/png")), true);
}

// The canvas shows large pictures smaller. Where nothing is drawn on them they stay what they are.
function asLargeAsTheGround() {
  const picture = ground();
  if (!picture || picture.naturalWidth <= canvas.width) return canvas;
  const whole = document.createElement("canvas");
  [whole.width, whole.height] = [picture.naturalWidth, picture.naturalHeight];
  const context = whole.getContext("2d");
  const drawn = document.createElement("canvas"); // so that the eraser spares the picture
  [drawn.width, drawn.height] = [whole.width, whole.height];
  const lines = drawn.getContext("2d");
  lines.scale(whole.width / canvas.width, whole.height / canvas.height);
  for (const step of done.slice(done.indexOf(groundStep()) + 1)) trace(lines, step.stroke);
  if (stroke) trace(lines, stroke);
  context.drawImage(picture, 0, 0);
  context.drawImage(drawn, 0, 0);
  return whole;
}

function commitChange() {
  repaint();
  keep();
  const last = done.at(-1);
  if (last?.stroke) {
    sendDrawing();
    return;
  }
  version += 1;
  unsent = false;
  say("");
  settle(last?.id || ""); // an untouched picture, which is there already, or an empty canvas
}

// Waits until the server has what is on the canvas, and tries once more where that has failed.
async function whenSettled() {
  await sending;
  if (!unsent && !(restored && done.at(-1)?.stroke)) return;
  sendDrawing();
  await sending;
}

window.addEventListener("online", () => unsent && whenSettled());

const load = (id) => loadInput(id, words.gone);

function lay(ground, id, alpha = null) {
  done.push({ ground, id, alpha });
  undone = [];
  unsent = false;
  repaint();
  keep();
}

// Of several files the first one comes here, where there is a place for the others.
function bringAll(files) {
  const others = Object.values(window.atelierSeveral || {}).find((each) => each.canvas === NAME);
  if (!others || files.length < 2) {
    bring(files[0]);
    return;
  }
  const [first, ...rest] = [...files].filter((file) => ACCEPTED.includes(file.type));
  bring(first || files[0]);
  others.bring(rest, [...files].filter((file) => !ACCEPTED.includes(file.type)), words.kinds);
}

function bring(file) {
  if (!file) return;
  if (!ACCEPTED.includes(file.type)) {
    say(words.kinds);
    return;
  }
  send(async () => file, false, async ({ id, alpha }) => lay(await load(id), id, alpha));
}

// The picture that the page has put here, as when settings are used again.
async function follow() {
  let id = props.value || "";
  if (id.startsWith(OFFERED)) {
    if (done.length || stroke) {
      props.value = settledOn;
      return;
    }
    if ((await restore()) || props.value !== id) return; // the page may have put another one here
    id = id.slice(OFFERED.length);
    props.value = id;
    if (!id) return;
  }
  settledOn = id;
  const mine = ++version;
  drawn = "";
  say("");
  if (!id) {
    if (done.length) lay(null, "");
    return;
  }
  try {
    const picture = await load(id);
    if (mine !== version) return;
    lay(picture, id);
    trigger("input"); // only now can the page be sure that it is here
  } catch (error) {
    if (mine === version) say(error.message);
  }
}

// --- over a reload ------------------------------------------------------------------------------

function keep() {
  const steps = done.map(({ stroke, id, alpha }) => (stroke ? { stroke } : { id, alpha }));
  const kept = { steps, value: unsent ? UNSENT : props.value || "" };
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  } catch { // too long for the browser: the picture as the server has it, then
    try {
      sessionStorage.setItem(KEPT, JSON.stringify({ steps: [{ id: kept.value }], value: kept.value }));
    } catch {} // there is no room at all
  }
}

// Lays out what this tab of the browser had on the canvas; whether there was anything.
async function restore() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  if (!kept?.steps.length) return false;
  const mine = ++version;
  const steps = kept.steps.map((step) => (step.stroke ? step : { ...step, ground: null }));
  try {
    for (const step of steps) if (step.id) step.ground = await load(step.id);
  } catch (error) { // its file has been cleaned up
    if (mine === version) say(error.message);
    return false;
  }
  if (mine !== version) return true; // somebody has begun to draw meanwhile
  done = steps;
  restored = true;
  repaint();
  const last = done.at(-1);
  if (last.stroke) {
    drawn = "";
    sendDrawing(); // the server may have deleted it; the same pixels are the same picture there
  } else settle(last.id || "");
  return true;
}

// --- the hand -----------------------------------------------------------------------------------

followHand(canvas, {
  begin: () => tool,
  draw(drawn) {
    stroke = drawn;
    repaint();
    if (uploads || !someLive("follows")) return;
    early = true;
    sendDrawing();
  },
  finish(drawn) {
    done.push({ stroke: drawn });
    undone = [];
    stroke = null;
    early = false;
    commitChange();
  },
  abandon() {
    stroke = null;
    if (early) commitChange();
    else repaint();
    early = false;
  },
});

const acts = {
  undo() {
    if (!done.length) return;
    undone.push(done.pop());
    commitChange();
  },
  redo() {
    if (!undone.length) return;
    done.push(undone.pop());
    commitChange();
  },
  clear() {
    if (!done.length && !settledOn) return; // a picture may be on its way here
    lay(null, "");
    commitChange();
  },
  open() {
    const file = find("input[type=file]");
    file.multiple = Object.values(window.atelierSeveral || {}).some((each) => each.canvas === NAME);
    file.click();
  },
};

function choose(changes) {
  tool = { ...tool, ...changes };
  for (const button of element.querySelectorAll("[data-size], [data-colour], [data-erases]")) {
    const { size, colour, erases } = button.dataset;
    const on = erases !== undefined ? tool.erases
      : size !== undefined ? Number(size) === tool.size
      : !tool.erases && colour === tool.colour;
    button.setAttribute("aria-pressed", String(on));
  }
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { size, colour, erases } = button.dataset;
  if (button.dataset.do) acts[button.dataset.do]();
  else if (size !== undefined) choose({ size: Number(size) });
  else if (colour !== undefined) choose({ colour, erases: false });
  else if (erases !== undefined) choose({ erases: !tool.erases });
});

element.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  acts[event.shiftKey ? "redo" : "undo"]();
});

find("input[type=file]").addEventListener("change", (event) => {
  bringAll([...event.target.files]);
  event.target.value = ""; // the same file may be chosen again
});

for (const kind of ["dragover", "dragleave", "drop"]) {
  frame.addEventListener(kind, (event) => {
    event.preventDefault();
    frame.classList.toggle("dropping", kind === "dragover");
    if (kind === "drop") bringAll([...event.dataTransfer.files]);
  });
}

element.addEventListener("paste", (event) => bringAll([...event.clipboardData.files]));

// --- the start ----------------------------------------------------------------------------------

speak(element, words);
canvas.setAttribute("aria-label", words.canvas);
choose({});
repaint();
window.dispatchEvent(new CustomEvent("atelier-canvas", { detail: NAME })); // a layer may wait for it
new ResizeObserver(arrange).observe(frame);
watch("value", follow);
if (props.value) follow();
