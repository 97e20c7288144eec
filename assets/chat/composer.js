// The place to write, the one button that sends or stops, and how full the context is.

import { h, say } from "./page.js";
import { fit } from "./messages.js";

const DRAFT = "chat"; // the name under which the browser keeps what was written and not sent
const TOUCH = window.matchMedia("(hover: none) and (pointer: coarse)");

export class Composer {
  // acts: send(text) → whether it was taken, stop(), beside().
  constructor(acts) {
    this.acts = acts;
    this.running = false;
    this.field = h("textarea", {
      id: "chat-text",
      rows: 1,
      placeholder: say("Write a message"),
      "aria-label": say("Message"),
      oninput: () => this.#onInput(),
      onkeydown: (event) => this.#key(event),
    });
    this.button = h("button", { type: "submit", class: "send", id: "chat-send" });
    this.beside = h("button", { type: "button", class: "plain beside", id: "chat-beside", onclick: () => acts.beside() }, say("Another model beside"));
    this.bar = h("span", {});
    this.tokens = h("span", { class: "tokens", id: "chat-tokens" });
    this.meter = h("span", { class: "bar", role: "meter", "aria-label": say("Context used"), "aria-valuemin": 0 }, this.bar);
    const hint = TOUCH.matches ? null : h("span", { class: "keys" }, say("Enter sends, Shift+Enter makes a line"));
    this.element = h(
      "form",
      { class: "composer", onsubmit: (event) => this.#onSubmit(event) },
      h("div", { class: "writing" }, this.field, this.button),
      h("div", { class: "under" }, this.meter, this.tokens, hint, this.beside),
    );
    this.field.value = atelier.drafts.restore(DRAFT, "");
    requestAnimationFrame(() => fit(this.field));
    this.runs(false);
  }

  focus() {
    this.field.focus({ preventScroll: true });
  }

  runs(running) {
    this.running = running;
    this.button.textContent = running ? say("Stop") : say("Send");
    this.button.classList.toggle("stops", running);
    this.button.disabled = false;
  }

  lanes(count, limit) {
    this.beside.disabled = this.running || count >= limit;
  }

  count(context) {
    this.meter.hidden = this.tokens.hidden = !context;
    if (!context) return;
    const { used, limit } = context;
    const share = Math.min(1, used / limit);
    this.bar.style.width = `${100 * share}%`;
    this.meter.classList.toggle("full", share > 0.9);
    this.meter.setAttribute("aria-valuemax", limit);
    this.meter.setAttribute("aria-valuenow", used);
    this.tokens.textContent = say("{used} of {limit} tokens", { used, limit });
  }

  async sendThis(text) {
    if (this.running || this.sending) return;
    this.sending = true;
    this.button.disabled = true;
    try {
      if (await this.acts.send(text)) {
        if (this.field.value.trim() === text) this.#empty(this.field.value);
      } else if (!this.field.value) {
        this.field.value = text;
      }
    } finally {
      this.sending = false;
      this.button.disabled = false;
      if (!TOUCH.matches) this.focus();
    }
  }

  #onSubmit(event) {
    event.preventDefault();
    if (this.running) {
      this.button.disabled = true; // until it has stopped
      this.acts.stop();
      return;
    }
    const text = this.field.value.trim();
    if (text) this.sendThis(text);
    else this.focus();
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229 || TOUCH.matches) return;
    event.preventDefault();
    if (!this.running) this.#onSubmit(event);
  }

  #onInput() {
    atelier.drafts.keep(DRAFT, this.field.value);
    fit(this.field);
  }

  #empty(text) {
    atelier.drafts.noteSent(DRAFT, text);
    this.field.value = "";
    this.#onInput();
  }
}
