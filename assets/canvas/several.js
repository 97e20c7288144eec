// More pictures beside the one on a canvas, to be changed in the same way:
// studio.features.from_picture.several.py. Runs once when it is shown, with Gradio's `element`, `props`,
// `trigger` and `watch`; before it stand NAME, its own, CANVAS, the name of the canvas, MOST, how many
// are taken, WORDS, and strokes.js.
//
// props.value is the ids of the pictures as the server keeps them, with commas between them, or
// OFFERED followed by these, for a browser tab that has none of its own. They are kept in
// sessionStorage, as the drawing is.

const OFFERED = "offered:"; // as in studio/page/components/canvas.py
const KEPT = `atelier-several:${window.atelier?.person}:${NAME}`;

const language = (navigator.language || "en").split("-")[0];
const words = WORDS[language] || WORDS.en;
const find = (selector) => element.querySelector(selector);
const say = (name, values = {}) => words[name].replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);

let ids = [];
let gathering = Promise.resolve(); // one file after the other
let refused = []; // why some were not taken
let version = 0; // rises when the list is emptied or replaced: what is on its way then is not added

const state = (window.atelierSeveral ||= {});
state[NAME] = {
  canvas: CANVAS,
  bring,
  whenSettled: () => gathering,
  value: () => ids.join(","),
};

function show() {
  find(".several-pictures").hidden = !ids.length;
  find(".invitation").hidden = Boolean(ids.length);
  find(".count").textContent = say(ids.length === 1 ? "one" : "count", { count: ids.length });
  const list = find("ol");
  while (list.children.length > ids.length) list.lastChild.remove();
  ids.forEach((id, place) => {
    let item = list.children[place];
    if (!item) {
      item = document.createElement("li");
      item.innerHTML = '<img loading="lazy" height="64"><button type="button" data-out>×</button>';
      list.append(item);
    }
    const picture = item.querySelector("img");
    const source = `api/v1/inputs/${id}.png`;
    if (picture.getAttribute("src") !== source) picture.src = source;
    picture.alt = say("picture", { number: place + 2 });
    const out = item.querySelector("button");
    out.title = say("out", { number: place + 2 });
    out.setAttribute("aria-label", out.title);
  });
  const said = find(".said");
  said.textContent = refused.join(" ");
  said.hidden = !refused.length;
}

function change(now) {
  ids = now;
  show();
  try {
    sessionStorage.setItem(KEPT, ids.join(","));
  } catch {} // there is no room
  const value = ids.join(",");
  if (props.value === value) return;
  props.value = value;
  trigger("input");
}

// Sends files that were dropped, pasted or chosen, and adds them in their order; others are no
// pictures, which `sentence` says.
function bring(files, others, sentence) {
  const mine = version;
  const room = Math.max(0, MOST - ids.length);
  refused = others.map((file) => `${file.name}: ${sentence}`);
  if (files.length > room) refused.push(say("many", { limit: MOST, count: files.length - room }));
  const taken = [...files].slice(0, room);
  const before = gathering;
  gathering = (async () => {
    await before;
    for (const [place, file] of taken.entries()) {
      if (mine !== version) break;
      showProgress(place + 1, taken.length);
      try {
        const kept = await answer(fetch("api/v1/inputs", { method: "POST", body: file }), words.offline);
        if (mine === version && !ids.includes(kept.id)) change([...ids, kept.id]);
      } catch (error) { // the others are taken all the same
        refused.push(`${file.name}: ${error.message}`);
      }
    }
    showProgress(0, 0);
    show();
  })();
}

function showProgress(step, total) {
  find(".working").hidden = !total;
  find(".working").textContent = total ? say("bringing", { step, total }) : "";
}

// What the page has put here.
function follow() {
  const value = props.value || "";
  if (value.startsWith(OFFERED)) {
    const own = sessionStorage.getItem(KEPT);
    const offered = value.slice(OFFERED.length);
    change((own === null || ids.length ? ids.join(",") || offered : own).split(",").filter(Boolean));
    return;
  }
  if (value === ids.join(",")) return;
  version += 1;
  refused = [];
  change(value.split(",").filter(Boolean));
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  refused = [];
  if ("out" in button.dataset) {
    const place = [...find("ol").children].indexOf(button.closest("li"));
    change(ids.filter((_, other) => other !== place));
  } else {
    version += 1;
    change([]);
  }
});

speak(element, words);
show();
watch("value", follow);
if (props.value) follow();
