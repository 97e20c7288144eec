// The line above a conversation: its title, and what can be done with the whole of it.

import { address, h, iconButton, say } from "./page.js";

export class Head {
  // acts: rename(title), remove(), sides().
  constructor(acts) {
    this.acts = acts;
    this.title = h("h2", { dir: "auto" });
    this.markdown = h("a", { class: "plain", download: true }, say("Export as Markdown"));
    this.json = h("a", { class: "plain", download: true }, say("Export as JSON"));
    this.rename = h("button", { type: "button", class: "plain rename", onclick: () => this.#rename() }, say("Rename"));
    this.remove = h("button", { type: "button", class: "plain remove", onclick: () => this.#ask() }, say("Delete"));
    const dots = h("summary", { class: "icon", title: say("More"), "aria-label": say("More") });
    dots.innerHTML = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M5 12h.01M12 12h.01M19 12h.01" stroke-width="3"/></svg>';
    this.actions = h("details", { class: "more-acts" }, dots, h("div", { class: "menu" }, this.rename, this.markdown, this.json, this.remove));
    const sides = iconButton("list", say("Conversations and settings"), () => acts.sides(), { class: "icon sides" });
    this.below = h("div", { class: "below-head" });
    this.element = h("header", { class: "chat-head" }, h("div", { class: "line" }, sides, this.title, this.actions), this.below);
    document.addEventListener("click", (event) => !dots.contains(event.target) && this.actions.removeAttribute("open"));
  }

  show(view) {
    this.title.textContent = view ? view.title || say("Without a title") : say("New chat");
    this.actions.hidden = !view;
    if (view?.id !== this.view?.id) this.#close();
    this.view = view;
    if (!view) return;
    for (const [link, form] of [[this.markdown, "md"], [this.json, "json"]]) {
      link.href = address(`chats/${encodeURIComponent(view.id)}/export.${form}`);
    }
  }

  #close() {
    this.below.replaceChildren();
  }

  #rename() {
    const field = h("input", { type: "text", "aria-label": say("Title"), maxlength: 200 });
    field.value = this.view.title;
    const form = h(
      "form",
      {
        class: "renaming",
        onsubmit: (event) => {
          event.preventDefault();
          this.#close();
          if (field.value.trim() !== this.view.title) this.acts.rename(field.value);
        },
      },
      field,
      h("button", { type: "submit", class: "plain main" }, say("Save")),
      h("button", { type: "button", class: "plain", onclick: () => this.#close() }, say("Cancel")),
    );
    this.below.replaceChildren(form);
    field.select();
  }

  #ask() {
    const question = say("Delete “{title}” for good? All its branches go with it.", { title: this.view.title || say("Without a title") });
    const really = h("button", { type: "button", class: "plain danger", onclick: () => { this.#close(); this.acts.remove(); } }, say("Delete for good"));
    const keep = h("button", { type: "button", class: "plain", onclick: () => this.#close() }, say("Keep"));
    this.below.replaceChildren(h("div", { class: "confirm", role: "alertdialog", "aria-label": question }, h("p", { dir: "auto" }, question), h("div", { class: "acts" }, really, keep)));
    keep.focus();
  }
}
