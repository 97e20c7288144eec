// The gallery's tools: going to a day, and choosing several pictures to download or delete. Runs once
// with Gradio's `element` and `trigger`; before it stands WORDS, its texts by language.
//
// The pictures are those of the component beside it, whose element .found tells what was searched for
// and from which day to which there are pictures.

const LOOK_MS = 400; // between two looks at a job
const language = (navigator.language || "en").split("-")[0];
const words = WORDS[language] || WORDS.en;
const say = (name, values = {}) => words[name].replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
const find = (selector) => element.querySelector(selector);
const column = element.closest(".results");
const day = find("input[type=date]");

const sends = [...element.querySelectorAll('[data-do^="send-"]')].map((each) => each.dataset.do);

let choosing = false;
let chosen = new Set(); // ids
let anchor = null; // the picture that was chosen last: with Shift all from there are

const pictures = () => [...column.querySelectorAll("#gallery-pictures [data-id]")];
const facts = () => column.querySelector("#gallery-pictures .found")?.dataset || {};

// --- what is seen -------------------------------------------------------------------------------

function show() {
  find('[data-do="several"]').setAttribute("aria-pressed", String(choosing));
  find(".several").hidden = !choosing;
  find(".count").textContent = say(chosen.size === 1 ? "one" : "chosen", { count: chosen.size.toLocaleString(language) });
  for (const act of ["download", "delete", "none", ...sends]) find(`[data-do="${act}"]`).disabled = !chosen.size;
  mark();
}

function mark() {
  const { oldest, newest } = facts();
  if (oldest) [day.min, day.max] = [oldest, newest];
  find(".days").hidden = !day.min;
  find('[data-do="newest"]').hidden = !day.value;
  for (const picture of pictures()) {
    const picked = choosing && chosen.has(picture.dataset.id);
    picture.classList.toggle("picked", picked);
    const pressed = String(choosing ? picked : picture.classList.contains("chosen"));
    if (picture.getAttribute("aria-pressed") !== pressed) picture.setAttribute("aria-pressed", pressed);
  }
}

function ask(question) {
  find(".confirm").hidden = !question;
  find(".confirm p").textContent = question || "";
  if (question) find('[data-do="keep"]').focus();
}

function refuse(sentence) {
  find(".said").textContent = sentence || "";
  find(".said").hidden = !sentence;
}

// --- the server ---------------------------------------------------------------------------------

async function call(method, path, data) {
  let reply;
  try {
    reply = await fetch(`api/v1/${path}`, { method, body: data && JSON.stringify(data) });
  } catch {
    throw new Error(say("offline"));
  }
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(body.error?.message || `${say("offline")} (${reply.status})`);
  return body;
}

let job = null; // id of the deletion that is shown

async function remove() {
  const ids = [...chosen];
  job = (await call("POST", "pictures/delete", { ids })).id;
  find(".working").hidden = false;
  let now;
  try {
    do {
      now = await call("GET", `jobs/${job}`);
      const share = now.total ? (100 * now.step) / now.total : 0;
      find(".bar span").style.width = `${share}%`;
      const text = say("deleting", { step: now.step.toLocaleString(language), total: ids.length.toLocaleString(language) });
      find(".working .words").textContent = text;
      const progress = find('[role="progressbar"]');
      progress.setAttribute("aria-valuenow", Math.round(share));
      progress.setAttribute("aria-valuetext", text);
      if (now.finished === null) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    } while (now.finished === null);
  } finally {
    find(".working").hidden = true;
    job = null;
  }
  chosen.clear();
  trigger("changed");
  if (now.error) throw new Error(now.error);
}

function download() {
  const form = document.createElement("form");
  form.method = "post";
  form.action = "api/v1/pictures/archive";
  form.target = find("iframe").name;
  const field = document.createElement("input");
  field.type = "hidden";
  field.name = "ids";
  field.value = [...chosen].join(",");
  form.append(field);
  element.append(form);
  form.submit();
  form.remove();
}

function go(until) {
  day.value = until;
  trigger("jump", { until });
}

// --- the hand -----------------------------------------------------------------------------------

const acts = {
  oldest: () => go(day.min),
  newest: () => go(""),
  several() {
    choosing = !choosing;
    chosen.clear();
    ask(null);
  },
  async all() {
    const query = new URLSearchParams({ search: facts().search || "" });
    chosen = new Set((await call("GET", `pictures/ids?${query}`)).ids);
  },
  none: () => chosen.clear(),
  download,
  delete: () => ask(say(chosen.size === 1 ? "askOne" : "ask", { count: chosen.size.toLocaleString(language) })),
  keep: () => ask(null),
  async really() {
    ask(null);
    await remove();
  },
  stop: () => job && call("POST", `jobs/${job}/cancel`),
};

for (const act of sends) acts[act] = () => trigger("send", { to: act.slice("send-".length), ids: [...chosen] });

element.addEventListener("click", async (event) => {
  const act = event.target.closest("[data-do]")?.dataset.do;
  if (!act) return;
  refuse(null);
  try {
    await acts[act]();
  } catch (error) {
    refuse(error.message);
  }
  show();
});

day.addEventListener("change", () => {
  go(day.value);
  show();
});

// While several are chosen, a click on a picture does not open it.
column.addEventListener("click", (event) => {
  const picture = event.target.closest("#gallery-pictures [data-id]");
  if (!choosing || !picture) return;
  event.stopPropagation();
  const { id } = picture.dataset;
  const ids = pictures().map((each) => each.dataset.id);
  const from = event.shiftKey ? ids.indexOf(anchor) : -1;
  if (from >= 0) {
    const [first, last] = [from, ids.indexOf(id)].sort((one, other) => one - other);
    for (const each of ids.slice(first, last + 1)) chosen.add(each);
  } else if (!chosen.delete(id)) chosen.add(id);
  anchor = id;
  show();
}, true);

new MutationObserver(mark).observe(column, { subtree: true, childList: true });
for (const part of element.querySelectorAll("[data-words]")) part.textContent = say(part.dataset.words);
find('[role="progressbar"]').setAttribute("aria-label", say("progress"));
show();
