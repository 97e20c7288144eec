// The list of conversations: search, choose, bring in.

import { ask, h, say } from "./page.js";

const SEARCH_MS = 250;
const PAGE = 40;

export class List {
  // acts: open(id), begin(), onError(error), onImport(view).
  constructor(acts) {
    this.acts = acts;
    this.current = null;
    this.field = h("input", { type: "search", class: "search", maxlength: 10000, placeholder: say("Search"), "aria-label": say("Search in conversations"), oninput: () => this.#onSearch() });
    this.items = h("ul", {});
    this.more = h("button", { type: "button", class: "plain more", hidden: true, onclick: () => this.#load(this.next) }, say("Show more"));
    this.none = h("p", { class: "none", hidden: true });
    const file = h("input", { type: "file", accept: ".json,.jsonl,.zip,application/json,application/zip", hidden: true, onchange: () => this.#bring(file) });
    this.element = h(
      "nav",
      { class: "chats", "aria-label": say("Conversations") },
      h("button", { type: "button", class: "begin", id: "chat-new", onclick: () => acts.begin() }, say("New chat")),
      this.field,
      h("div", { class: "rolls" }, this.items, this.none, this.more),
      h("button", { type: "button", class: "plain bring", title: say("Exports of Atelier, ChatGPT, Claude, Open WebUI, LibreChat, LM Studio, SillyTavern and others, or OpenAI messages: JSON, JSON lines or a zip"), onclick: () => file.click() }, say("Import conversations")),
      file,
    );
  }

  load() {
    return this.#load(null);
  }

  async #load(before) {
    const mine = (this.asked = (this.asked || 0) + 1);
    const search = this.field.value.trim();
    const query = new URLSearchParams({ limit: PAGE, ...(search && { search }), ...(before && { before }) });
    try {
      const found = await ask("GET", `chats?${query}`);
      if (mine !== this.asked) return;
      const items = found.chats.map((chat) => this.#item(chat));
      if (before) this.items.append(...items);
      else this.items.replaceChildren(...items);
      this.next = found.next;
      this.more.hidden = !found.next;
      this.none.hidden = this.items.childElementCount > 0;
      this.none.textContent = search ? say("Nothing found.") : say("What you talk about is kept here.");
    } catch (error) {
      this.acts.onError(error);
    }
  }

  #item(chat) {
    const here = chat.id === this.current;
    const button = h(
      "button",
      { type: "button", dir: "auto", "data-id": chat.id, "aria-current": here ? "true" : null, onclick: () => this.acts.open(chat.id) },
      chat.title || say("Without a title"),
    );
    return h("li", {}, button);
  }

  mark(id) {
    this.current = id;
    for (const button of this.items.querySelectorAll("button")) {
      if (button.dataset.id === id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  #onSearch() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), SEARCH_MS);
  }

  async #bring(input) {
    const [file] = input.files;
    input.value = ""; // the same file may be chosen again
    if (!file) return;
    try {
      this.acts.onImport(await ask("POST", "chats/import?drawn=true", file));
    } catch (error) {
      this.acts.onError(error);
    }
  }
}
