// What all parts of the chat tab share: words in the reader's language, elements, the server.

const language = (navigator.language || "en").split("-")[0];
let words = {};

// Each tab brings its own.
export function speak(tables) {
  words = { ...words, ...tables[language] };
}

// A fixed text in the reader's language; {names} in it are replaced by values.
export function say(text, values = {}) {
  const said = words[text] || text;
  return said.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export function speaks(languages) {
  return languages.includes(language);
}

// Fields in which people write words, and not numbers or choices.
const WRITTEN = new Set([undefined, "text", "search"]);

// An element: attributes, listeners (on…) and children; text is always text. What people write in a
// field begins at the side where their writing begins.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (tag === "textarea" || (tag === "input" && WRITTEN.has(attributes.type))) element.dir = "auto";
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const ICONS = {
  close: '<path d="M6 6l12 12M18 6L6 18"/>',
  copy: '<path d="M9 9h10v11H9zM15 9V5H5v10h4"/>',
  down: '<path d="M12 5v14M6 13l6 6 6-6"/>',
  edit: '<path d="M4 20l1-5L16 4l4 4L9 19zM14 6l4 4"/>',
  again: '<path d="M19 12a7 7 0 11-2-5l2 2M19 4v5h-5"/>',
  list: '<path d="M4 6h16M4 12h16M4 18h16"/>',
  next: '<path d="M9 5l7 7-7 7"/>',
  previous: '<path d="M15 5l-7 7 7 7"/>',
};

// A button with an icon alone, named for whoever cannot see it.
export function iconButton(icon, name, onclick, attributes = {}) {
  const button = h("button", { type: "button", class: "icon", title: name, "aria-label": name, onclick, ...attributes });
  button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true">${ICONS[icon]}</svg>`;
  return button;
}

export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function address(path) {
  return new URL(`api/v1/${path}`, document.baseURI).href;
}

// Asks the server; throws a Failure with its sentence.
export async function ask(method, path, body) {
  let reply;
  try {
    const content = body === undefined || body instanceof Blob ? body : JSON.stringify(body);
    reply = await fetch(address(path), { method, body: content });
  } catch {
    throw new Failure(say("The studio cannot be reached. What you wrote is still here; try again in a moment."), 0);
  }
  if (reply.status === 204) return null;
  const data = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Failure(data.error?.message || `HTTP ${reply.status}`, reply.status);
  return data;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // an address without https has no clipboard
    const field = h("textarea", { class: "unseen" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

export function seconds(value) {
  return value < 10 ? value.toFixed(1) : value < 100 ? String(Math.round(value)) : `${Math.floor(value / 60)}:${String(Math.round(value) % 60).padStart(2, "0")}`;
}
