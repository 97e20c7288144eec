// The mask over a drawing canvas: studio/page/components/mask.py. Runs once when it is shown, with Gradio's `element`,
// `props`, `trigger` and `watch`; before it stand NAME, the mask's own, CANVAS, the name of the canvas
// below, WORDS, and strokes.js.
//
// props.value is "<picture>:<mask>", the ids of what is masked and of the mask as the server keeps it,
// or OFFERED followed by these, for a browser tab that has no mask of its own. From here comes the
// mask's id alone, "" while nothing is masked. A mask belongs to the picture that it was drawn on:
// when another is laid on the canvas it is gone. It is kept in sessionStorage, as the drawing is.

const OFFERED = "offered:"; // as in studio/page/components/canvas.py
const UNSENT = "unsent"; // likewise
const KEPT = `atelier-mask:${window.atelier?.person}:${NAME}`;
const STEP = 1 / 128; // of the longer side: what the mask grows or shrinks by at once
const STRIPE = 10; // CSS pixels from one stripe to the next
const TURNS = 24; // directions into which it grows
const BLURS = "filter" in CanvasRenderingContext2D.prototype; // Safari's does not

const language = (navigator.language || "en").split("-")[0];
const words = WORDS[language] || WORDS.en;
const find = (selector) => element.querySelector(selector);
const said = find(".said");

let tool = { size: 48, colour: "red", erases: false };
let paints = false; // whether the hand draws on the mask, not on the picture
let done = []; // {stroke}, {act} or {image, id}, oldest first
let undone = [];
let base = bitmap(1, 1); // all that is done
let stroke = null; // the one that is being drawn
let sent = ""; // the id of the last mask sent from here, which the next one takes the place of
let sending = Promise.resolve();
let version = 0;
let unsent = false;
let wanted = null; // {picture, mask} from the page, until that picture lies on the canvas
let own = JSON.parse(sessionStorage.getItem(KEPT) || "null"); // of this tab, before the page was loaded
let look = { blur: 0, invert: false, area: "whole", fit: "crop", width: 0, height: 0 };
let drawing = null; // what window.atelierDrawings has of it
let overlay = null;

const state = (window.atelierMasks ||= {});
state[NAME] = {
  whenSettled,
  value: () => (unsent ? UNSENT : idIn(props.value)),
  show(changes) {
    look = { ...look, ...changes };
    show();
  },
};

function idIn(value) {
  return (value || "").replace(OFFERED, "").split(":").at(-1);
}

// --- pixels -------------------------------------------------------------------------------------

function bitmap(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function pen(canvas, mode = "source-over") {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.globalCompositeOperation = mode;
  context.fillStyle = "red";
  return context;
}

function copyOf(canvas) {
  const copy = bitmap(canvas.width, canvas.height);
  pen(copy).drawImage(canvas, 0, 0);
  return copy;
}

// What each act makes of a mask; all give another canvas.
const acts = {
  clear: (mask) => bitmap(mask.width, mask.height),
  invert(mask) {
    const result = copyOf(mask);
    pen(result, "source-out").fillRect(0, 0, mask.width, mask.height);
    return result;
  },
  grow(mask) {
    const result = copyOf(mask);
    const far = STEP * Math.max(mask.width, mask.height);
    for (let turn = 0; turn < TURNS; turn++) {
      const angle = (2 * Math.PI * turn) / TURNS;
      pen(result).drawImage(mask, far * Math.cos(angle), far * Math.sin(angle));
    }
    return result;
  },
  shrink: (mask) => acts.invert(acts.grow(acts.invert(mask))),
  // Draw a line around what is to stay, or around what is to change.
  outside: (mask) => floodFill(mask, (reached, masked) => reached || masked),
  inside: (mask) => floodFill(mask, (reached) => !reached),
};

function alphas(mask) {
  return pen(mask).getImageData(0, 0, mask.width, mask.height);
}

// The mask anew where `isMasked(reached, masked)`; reached is what is connected with the edges
// without crossing the mask.
function floodFill(mask, isMasked) {
  const { width, height } = mask;
  const picture = alphas(mask);
  const masked = Array.from({ length: width * height }, (_, at) => picture.data[4 * at + 3] > 127);
  const reached = new Uint8Array(width * height);
  const open = [];
  const reach = (at) => {
    if (reached[at] || masked[at]) return;
    reached[at] = 1;
    open.push(at);
  };
  for (let x = 0; x < width; x++) [x, (height - 1) * width + x].forEach(reach);
  for (let y = 0; y < height; y++) [y * width, y * width + width - 1].forEach(reach);
  while (open.length) {
    const at = open.pop();
    const x = at % width;
    if (x > 0) reach(at - 1);
    if (x < width - 1) reach(at + 1);
    if (at >= width) reach(at - width);
    if (at < width * (height - 1)) reach(at + width);
  }
  for (let at = 0; at < reached.length; at++) {
    picture.data[4 * at] = 255;
    picture.data[4 * at + 3] = isMasked(reached[at], masked[at]) ? 255 : 0;
  }
  const result = bitmap(width, height);
  pen(result).putImageData(picture, 0, 0);
  return result;
}

// A mask whose edges are as soft as they are painted. Like the engine, and unlike a blur by CSS, it
// mirrors the mask at the picture's borders: what is masked there stays so.
function blurMask(mask, sigma) {
  if (!sigma) return mask;
  const { width, height } = mask;
  const around = Math.ceil(3 * sigma);
  const mirrored = bitmap(width + 2 * around, height + 2 * around);
  const context = pen(mirrored);
  for (const [x, y] of [-1, 0, 1].flatMap((x) => [-1, 0, 1].map((y) => [x, y]))) {
    const [left, top] = [around + (x > 0 ? 2 * width : 0), around + (y > 0 ? 2 * height : 0)];
    context.setTransform(x ? -1 : 1, 0, 0, y ? -1 : 1, left, top);
    context.drawImage(mask, 0, 0);
  }
  const result = bitmap(width, height);
  pen(result).filter = `blur(${sigma}px)`;
  pen(result).drawImage(mirrored, -around, -around);
  return result;
}

// White stripes within what is masked: red alone is not seen on what is red itself.
function drawStripes(layer) {
  const far = (STRIPE * layer.width) / (layer.clientWidth || layer.width);
  const context = pen(layer, "source-atop");
  context.strokeStyle = "white";
  context.lineWidth = far / 4;
  context.beginPath();
  for (let from = far / 2; from < layer.width + layer.height; from += far) {
    context.moveTo(from, 0);
    context.lineTo(0, from);
  }
  context.stroke();
}

// Red where a picture is bright, of the canvas's size.
function redOf(picture, width, height) {
  const result = bitmap(width, height);
  pen(result).drawImage(picture, 0, 0, width, height);
  const pixels = alphas(result);
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data[at + 3] = pixels.data[at];
    pixels.data[at] = 255;
    pixels.data[at + 1] = pixels.data[at + 2] = 0;
  }
  pen(result).putImageData(pixels, 0, 0);
  return result;
}

// The share of the canvas that is masked.
function share(mask) {
  const { data } = alphas(mask);
  let count = 0;
  for (let at = 3; at < data.length; at += 4) if (data[at] > 127) count += 1;
  return (4 * count) / data.length;
}

function scaledStroke({ points, size, paper: of, ...rest }, width, height) {
  const [x, y] = [width / of[0], height / of[1]];
  const moved = points.map((point) => ({ x: point.x * x, y: point.y * y }));
  return { ...rest, points: moved, size: size * Math.max(x, y) };
}

function perform(mask, step) {
  if (step.act) return acts[step.act](mask);
  if (step.image) return redOf(step.image, mask.width, mask.height);
  const result = copyOf(mask);
  trace(pen(result), scaledStroke(step.stroke, mask.width, mask.height));
  return result;
}

function replay() {
  const { width, height } = drawing.canvas;
  base = done.reduce(perform, bitmap(width, height));
}

// --- what is seen -------------------------------------------------------------------------------

function show() {
  if (!overlay) return;
  let mask = base;
  if (stroke) mask = perform(base, { stroke });
  if (look.invert && (percent() || stroke)) mask = acts.invert(mask);
  if (overlay.width !== mask.width || overlay.height !== mask.height) {
    overlay.width = mask.width;
    overlay.height = mask.height;
  }
  const sigma = stroke ? 0 : blurOnCanvas();
  pen(overlay, "copy").drawImage(BLURS ? blurMask(mask, sigma) : mask, 0, 0);
  drawStripes(overlay);
  const onScreen = (sigma * overlay.clientWidth) / overlay.width;
  overlay.style.filter = BLURS || !onScreen ? "" : `blur(${onScreen}px)`;
  for (const [name, steps] of Object.entries({ undo: done, redo: undone })) {
    find(`[data-do="${name}"]`).disabled = !steps.length;
  }
  find('[data-do="alpha"]').hidden = !drawing.transparent();
  find(".state").textContent = words.state.replace(
    "{percent}", String(look.invert ? 100 - percent() : percent()),
  );
  find(".state").hidden = !done.length || !percent();
  find(".no-mask").hidden = !find(".state").hidden;
}

let measured = null; // {of, percent}
function percent() {
  if (measured?.of !== base) {
    const masked = share(base);
    measured = { of: base, percent: masked && Math.max(1, Math.round(100 * masked)) };
  }
  return measured.percent;
}

// The mask's blur counts in pixels of what is painted: the picture's, or the result's.
function blurOnCanvas() {
  const [width, height] = drawing.size();
  const onCanvas = base.width / width; // of a pixel of the picture
  if (look.area === "masked" || !look.width) return look.blur * onCanvas;
  const scales = [look.width / width, look.height / height];
  const scale = look.fit === "stretch" ? scales[0] : Math[look.fit === "pad" ? "min" : "max"](...scales);
  return (look.blur * onCanvas) / scale;
}

function say(sentence) {
  said.textContent = sentence || "";
  said.hidden = !sentence;
}

function choose(changes) {
  tool = { ...tool, ...changes };
  paints = changes.paints ?? true;
  overlay?.classList.toggle("painted", paints);
  for (const button of element.querySelectorAll("[data-size], [data-erases], [data-paints]")) {
    const { size, erases, paints: toggles } = button.dataset;
    const on = toggles !== undefined ? paints
      : paints && (erases !== undefined ? tool.erases : Number(size) === tool.size);
    button.setAttribute("aria-pressed", String(on));
  }
}

// --- the server ---------------------------------------------------------------------------------

function settle(id) {
  if (idIn(props.value) !== id || props.value.startsWith(OFFERED)) {
    props.value = id;
    trigger("input");
  }
}

function blackAndWhite() {
  const result = bitmap(base.width, base.height);
  const context = pen(result);
  context.drawImage(base, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = "white";
  context.fillRect(0, 0, result.width, result.height);
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "black";
  context.fillRect(0, 0, result.width, result.height);
  return new Promise((resolve) => result.toBlob(resolve, "image/png"));
}

function send() {
  const mine = ++version;
  const before = sending;
  unsent = true;
  say("");
  sending = (async () => {
    await before;
    if (mine !== version) return;
    try {
      const former = sent ? `&instead_of=${sent}` : "";
      const body = await blackAndWhite();
      const kept = await answer(
        fetch(`api/v1/inputs?mask=true${former}`, { method: "POST", body }), words.offline,
      );
      sent = kept.id;
      if (mine !== version) return;
      unsent = false;
      settle(kept.id);
      keep();
    } catch (error) {
      if (mine === version) say(error.message);
    }
  })();
}

async function whenSettled() {
  await sending;
  if (!unsent) return;
  send();
  await sending;
}

window.addEventListener("online", () => unsent && whenSettled());

function commitChange() {
  show();
  keep();
  if (percent()) {
    send();
    return;
  }
  version += 1; // nothing is masked: the whole picture may change
  unsent = false;
  say("");
  settle("");
}

function add(step) {
  done.push(step);
  undone = [];
  base = perform(base, step);
  commitChange();
}

async function fetchMask(id) {
  const mine = ++version;
  try {
    const image = await loadInput(id, words.gone);
    if (mine === version) add({ image, id });
  } catch (error) {
    if (mine === version) say(error.message);
  }
}

// --- the picture below --------------------------------------------------------------------------

function forget() {
  done = [];
  undone = [];
  replay();
  commitChange();
}

function keep() {
  const steps = done.map(({ image, ...step }) => step);
  const kept = { of: drawing.ground(), steps };
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  } catch { // too long for the browser: the mask as the server has it, then
    try {
      sessionStorage.setItem(KEPT, JSON.stringify({ ...kept, steps: [{ id: idIn(props.value) }] }));
    } catch {} // there is no room at all
  }
}

async function restore(steps) {
  const mine = ++version;
  try {
    for (const step of steps) if (step.id) step.image = await loadInput(step.id, words.gone);
  } catch (error) { // its file has been cleaned up
    if (mine === version) say(error.message);
    return;
  }
  if (mine !== version) return;
  done = steps;
  undone = [];
  replay();
  commitChange();
}

// Another picture lies on the canvas, or the one that a mask waits for.
function onGround(id) {
  const [former, mask] = [own, wanted];
  own = wanted = null;
  if (former && former.of === id && former.steps.length) restore(former.steps);
  else {
    if (done.length || idIn(props.value)) forget();
    if (mask && mask.picture === id) fetchMask(mask.mask);
    else wanted = mask;
  }
}

function onResize() {
  const { width, height } = drawing.canvas;
  if (base.width !== width || base.height !== height) replay();
  show();
}

// The mask that the page has put here, as when settings are used again.
function follow() {
  const value = props.value || "";
  const offered = value.startsWith(OFFERED);
  const [picture, mask] = value.replace(OFFERED, "").split(":");
  if (mask === undefined && !offered) return; // from here
  if (offered && (done.length || own)) return;
  props.value = "";
  if (!mask) {
    if (!offered && done.length) forget();
    return;
  }
  own = null;
  wanted = { picture, mask };
  if (drawing?.ground() === picture) onGround(picture);
}

function attach() {
  if (!element.isConnected || !window.atelierDrawings?.[CANVAS]) return;
  const found = window.atelierDrawings[CANVAS];
  if (found === drawing) return;
  drawing = found;
  overlay?.remove();
  overlay = document.createElement("canvas");
  overlay.className = "mask-layer";
  overlay.tabIndex = -1;
  overlay.setAttribute("role", "img");
  overlay.setAttribute("aria-label", words.layer);
  drawing.canvas.after(overlay);
  followHand(overlay, {
    begin: () => tool,
    draw(drawn) {
      stroke = drawn;
      show();
    },
    finish(drawn) {
      stroke = null;
      add({ stroke: drawn });
    },
    abandon() {
      stroke = null;
      show();
    },
  });
  // Whoever takes a pen for the picture does not want to go on with the mask.
  drawing.canvas.closest(".drawing").querySelector(".tools").addEventListener("click", (event) => {
    if (event.target.closest("[data-size], [data-colour], [data-erases]")) choose({ paints: false });
  });
  new ResizeObserver(show).observe(overlay);
  drawing.lay({ onGround, onResize });
  replay();
  choose({ paints });
  if (own && own.of === drawing.ground()) onGround(own.of);
  else if (wanted && wanted.picture === drawing.ground()) onGround(wanted.picture);
  show();
}

// --- the hand -----------------------------------------------------------------------------------

const commands = {
  undo() {
    if (!done.length) return;
    undone.push(done.pop());
    replay();
    commitChange();
  },
  redo() {
    if (!undone.length) return;
    done.push(undone.pop());
    replay();
    commitChange();
  },
  alpha: () => fetchMask(drawing.transparent()),
};

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { size, erases, paints: toggles, do: act } = button.dataset;
  if (toggles !== undefined) choose({ paints: !paints });
  else if (size !== undefined) choose({ size: Number(size), erases: tool.erases && paints });
  else if (erases !== undefined) choose({ erases: !(tool.erases && paints) });
  else if (!drawing) return;
  else if (commands[act]) commands[act]();
  else if (acts[act]) add({ act });
});

for (const each of [element, document]) {
  each.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    const ours = each === element || (paints && event.target === overlay);
    if (!ours || event.defaultPrevented) return;
    event.preventDefault();
    commands[event.shiftKey ? "redo" : "undo"]();
  }, each === document); // before the canvas takes it for its own
}

// --- the start ----------------------------------------------------------------------------------

speak(element, words);
choose({ paints: false });
window.addEventListener("atelier-canvas", (event) => event.detail === CANVAS && attach());
attach();
watch("value", follow);
if (props.value) follow();
