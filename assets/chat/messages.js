// The messages of one lane: drawn from what the server tells, and changed while an answer comes.

import { copy, h, iconButton, say, seconds } from "./page.js";
import { append, finish, showCopied } from "./words.js";

const CLOCK_MS = 100;

export class Lane {
  // acts: what the buttons do; see main.js.
  constructor(acts, titles) {
    this.acts = acts;
    this.titles = titles;
    this.shown = new Map(); // id → {element, look}
    this.log = h("div", { class: "log", role: "log", "aria-live": "polite", "aria-label": say("Conversation") });
    this.scroller = h("div", { class: "scroller", tabindex: "-1", onscroll: () => this.#onScroll() }, this.log);
    this.below = iconButton("down", say("To the newest words"), () => this.toEnd(), { class: "icon below", hidden: true });
    this.element = h("div", { class: "messages" }, this.scroller, this.below);
    this.live = null;
  }

  // Shows the lane as the server tells it; what looks the same stays untouched.
  draw(lane) {
    const stays = this.#isAtEnd() || this.lane?.id !== lane.id;
    this.lane = lane;
    const left = lane.left_out - lane.earlier; // of those that are shown here
    const elements = [];
    if (lane.earlier > 0) {
      const words = say("Show {count} earlier messages", { count: lane.earlier });
      elements.push(h("button", { type: "button", class: "earlier", onclick: this.acts.earlier }, words));
    }
    const shown = new Map();
    lane.messages.forEach((message, at) => {
      const last = at === lane.messages.length - 1;
      if (at === left && left > 0) elements.push(this.#leftOutNote(lane.left_out));
      // The words of an answer that is being written come another way.
      const told = message.state === "streaming" ? { ...message, content: "" } : message;
      const look = JSON.stringify([told, last, at < left]);
      const before = this.shown.get(message.id);
      const entry = before?.look === look ? before : { element: this.#message(message, last, at < left), look };
      shown.set(message.id, entry);
      elements.push(entry.element);
    });
    this.shown = shown;
    this.log.replaceChildren(...elements);
    const writing = lane.messages.at(-1)?.state === "streaming" ? lane.messages.at(-1) : null;
    if (writing?.id !== this.live?.id) this.#begin(writing);
    this.log.setAttribute("aria-busy", String(Boolean(writing)));
    if (stays) this.toEnd();
  }

  // The page shows other lanes now.
  leave() {
    this.#begin(null);
  }

  empty(element) {
    this.lane = null;
    this.shown = new Map();
    this.#begin(null);
    this.log.replaceChildren(element);
  }

  // --- an answer that is being written ----------------------------------------------------------

  #begin(message) {
    clearInterval(this.clock);
    this.live = null;
    if (!message) return;
    const { element } = this.shown.get(message.id);
    this.live = { id: message.id, element, facts: {}, since: performance.now() };
    this.restart();
    this.clock = setInterval(() => this.#tick(), CLOCK_MS);
  }

  // The server tells it from its beginning again.
  restart() {
    if (!this.live) return;
    const { element } = this.live;
    this.live.facts = {};
    this.live.words = element.querySelector(".words");
    this.live.words.replaceChildren();
    this.live.tail = this.live.words.appendChild(h("div", { class: "tail" }));
    this.live.said = element.querySelector(".phase-words");
    this.live.bar = element.querySelector(".bar");
    this.#tick();
  }

  // News of this lane's answer; see studio/features/chat/answers/sse.py.
  take({ blocks, tail, words, seconds: since, ...facts }) {
    const live = this.live;
    if (!live) return;
    const follows = this.#isAtEnd();
    if (since !== undefined) live.since = performance.now() - 1000 * since;
    Object.assign(live.facts, facts);
    for (const block of blocks || []) {
      const piece = document.createElement("template");
      piece.innerHTML = block; // made by the server, which lets nothing through
      finish(piece.content);
      live.tail.before(piece.content);
    }
    if (tail !== undefined) {
      live.tail.innerHTML = tail;
      finish(live.tail);
    }
    if (words) append(live.tail, words);
    this.#tick();
    if (follows) this.toEnd();
  }

  #tick() {
    const { facts, since, said, bar, element } = this.live;
    const clock = say("{seconds} s", { seconds: seconds((performance.now() - since) / 1000) });
    element.dataset.phase = facts.phase || "loading";
    let parts = [facts.note || say("Getting the model ready …"), clock];
    let [done, total] = [facts.step, facts.total];
    if (facts.phase === "reading") {
      parts = [say("Reading the prompt: {done} of {total} tokens", { done: facts.read, total: facts.to_read }), clock];
      [done, total] = [facts.read, facts.to_read];
    } else if (facts.phase === "writing" || facts.phase === "ended") {
      parts = numbers(facts.tokens, facts.rate, facts.first);
      total = 0;
    }
    said.textContent = parts.join(" · ");
    bar.hidden = !total;
    bar.firstChild.style.width = `${total ? (100 * done) / total : 0}%`;
    this.acts.onCount(facts);
  }

  // --- one message ------------------------------------------------------------------------------

  #message(message, last, leftOut) {
    const mine = message.role === "user";
    const name = mine ? say("You") : this.titles(message.model);
    const element = h("article", { class: `message ${message.role}`, "data-id": message.id, "data-state": message.state, "aria-label": name });
    if (leftOut) element.classList.add("left-out");
    if (mine) element.append(h("div", { class: "words", dir: "auto" }, message.content));
    else element.append(this.#answer(message));
    if (message.error) element.append(h("div", { class: "error", role: "alert" }, message.error));
    element.append(this.#foot(message, last));
    return element;
  }

  #answer(message) {
    const words = h("div", { class: "words prose-like", dir: "auto" });
    words.innerHTML = message.html; // made by the server, which lets nothing through
    finish(words);
    return words;
  }

  #foot(message, last) {
    if (message.state === "streaming") {
      const bar = h("div", { class: "bar", hidden: true }, h("span"));
      return h("div", { class: "phase" }, h("span", { class: "phase-words" }), bar);
    }
    const mine = message.role === "user";
    const buttons = [
      message.siblings > 1 && this.#branches(message),
      iconButton("copy", say("Copy"), (event) => {
        copy(message.content);
        showCopied(event.currentTarget);
      }),
      iconButton("edit", say("Edit"), () => this.edit(message), { class: "icon edit" }),
      (!mine || last) && iconButton("again", mine ? say("Answer this") : say("Answer again"), () => this.acts.again(message), { class: "icon again" }),
      last && message.can_continue && h("button", { type: "button", class: "plain go-on", onclick: () => this.acts.goOn(message) }, say("Continue")),
    ];
    const facts = mine ? [] : [...endOf(message), ...(message.notes ?? []), ...numbers(message.facts.completion_tokens, message.facts.tokens_per_second, message.facts.first_token_seconds)];
    return h("footer", {}, h("span", { class: "acts" }, buttons), facts.length > 0 && h("span", { class: "facts" }, facts.join(" · ")));
  }

  #branches({ id, place, siblings }) {
    return h(
      "span",
      { class: "branches" },
      iconButton("previous", say("The one before"), () => this.acts.turn(id, -1), { disabled: place === 1 }),
      h("span", {}, `${place} / ${siblings}`),
      iconButton("next", say("The next one"), () => this.acts.turn(id, 1), { disabled: place === siblings }),
    );
  }

  #leftOutNote(count) {
    const words = count === 1
      ? say("The oldest message was left out: the context was full. The system prompt always stays.")
      : say("The {count} oldest messages were left out: the context was full. The system prompt always stays.", { count });
    return h("div", { class: "divider", role: "note" }, words);
  }

  edit(message) {
    const { element } = this.shown.get(message.id);
    if (element.querySelector("form")) return;
    const field = h("textarea", { "aria-label": say("Edit") });
    const draft = `edit-${message.id}`;
    field.value = atelier.drafts.restore(draft, message.content);
    const close = () => {
      atelier.drafts.forget(draft);
      form.remove();
      element.classList.remove("editing");
    };
    const save = async (event) => {
      event.preventDefault();
      if (!field.value.trim() || field.value === message.content) close();
      else if (await this.acts.edit(message, field.value)) atelier.drafts.forget(draft);
    };
    const mine = message.role === "user";
    const form = h(
      "form",
      { class: "editor", onsubmit: save },
      field,
      h(
        "div",
        { class: "acts" },
        h("button", { type: "submit", class: "plain main" }, mine ? say("Send") : say("Save")),
        h("button", { type: "button", class: "plain", onclick: close }, say("Cancel")),
        h("span", { class: "facts" }, mine ? say("What was said and answered before is kept as a branch.") : say("What stood here before is kept as a branch.")),
      ),
    );
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) save(event);
    });
    element.classList.add("editing");
    element.append(form);
    fit(field);
    field.addEventListener("input", () => {
      atelier.drafts.keep(draft, field.value);
      fit(field);
    });
    field.focus();
  }

  // --- where one looks --------------------------------------------------------------------------

  #isAtEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    return scrollTop + clientHeight > scrollHeight - 60;
  }

  #onScroll() {
    this.below.hidden = this.#isAtEnd();
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#onScroll();
  }
}

// As high as its text, within what the style allows.
export function fit(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

function endOf({ state, facts }) {
  if (state === "stopped") return [say("Stopped")];
  if (state === "interrupted") return [say("Interrupted: the studio was closed")];
  if (facts.finish_reason === "length") return [say("Cut: the longest answer, or the context's end, was reached")];
  return [];
}

function numbers(tokens, rate, first) {
  const isKnown = (value) => value !== undefined && value !== null;
  return [
    isKnown(tokens) && say("{count} tokens", { count: tokens }),
    isKnown(rate) && say("{rate} tokens/s", { rate: rate.toFixed(1) }),
    isKnown(first) && say("first after {seconds} s", { seconds: first.toFixed(2) }),
  ].filter(Boolean);
}
