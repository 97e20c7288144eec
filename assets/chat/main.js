// The chat tab: conversations on the left, what is said on the right, and below it the place to
// write. The server has the truth; this page shows it and sends what is done, with the revision that
// it has seen.

import { List } from "./list.js";
import { AnswerEvents } from "./live.js";
import { Head } from "./head.js";
import { Lane } from "./messages.js";
import { ask, h, iconButton, say, speak, speaks } from "./page.js";
import { Composer } from "./composer.js";
import { Settings } from "./settings.js";
import { onClick, prepare } from "./words.js";

const MAX_LANES = 3;
const REMEMBERED = "atelier-chat"; // the conversation that this window shows
const SYSTEM = "chat-system"; // the name under which the browser keeps a new conversation's prompt
const WITH = "atelier-chat-with"; // models that another tab asks to talk with, side by side

export async function start(root, { words, katex }) {
  speak(words);
  prepare(katex);
  try {
    new Chat(root, await ask("GET", "chat-models"));
  } catch (error) {
    root.replaceChildren(h("div", { class: "error", role: "alert" }, error.message));
  }
}

class Chat {
  constructor(root, known) {
    this.models = known.models;
    this.view = null; // the conversation as the server tells it
    this.draft = { ...this.#fresh(), prompt: atelier.drafts.restore(SYSTEM, "") || null };
    this.lanes = [];
    this.saving = Promise.resolve();
    this.list = new List({
      open: (id) => this.open(id),
      begin: () => this.begin(),
      onError: (error) => this.fail(error),
      onImport: (view) => {
        this.#took(view);
        this.#tellOf(view.brought);
        this.list.load();
      },
    });
    this.settings = new Settings(known, () => this.#settingsChanged());
    this.head = new Head({
      rename: (title) => this.act(() => ask("PATCH", this.#path(this.view.id), { revision: this.view.revision, title })).then(() => this.list.load()),
      remove: () => this.remove(),
      sides: () => this.root.classList.toggle("with-side"),
    });
    this.composer = new Composer({ send: (text) => this.send(text), stop: () => this.stop(), beside: () => this.addLane() });
    this.events = new AnswerEvents({
      begin: () => this.lanes.forEach(({ log }) => log.restart()),
      news: (news) => this.#news(news),
      end: () => this.refresh().then(() => this.list.load()),
      loss: () => setTimeout(() => this.refresh(), 2000),
    });
    this.columns = h("div", { class: "lanes" });
    this.notice = h("div", { class: "notice", role: "alert", hidden: true });
    this.root = root;
    const side = h("aside", { class: "side" }, this.list.element, this.settings.element);
    const talk = h("section", { class: "talk" }, this.head.element, this.columns, this.notice, this.composer.element);
    root.replaceChildren(side, talk);
    root.addEventListener("click", onClick);
    document.addEventListener("visibilitychange", () => !document.hidden && this.#lookAgain());
    window.addEventListener(WITH, () => this.#talkWith());
    this.list.load();
    const remembered = sessionStorage.getItem(REMEMBERED);
    if (sessionStorage.getItem(WITH)) this.#talkWith();
    else if (remembered) this.open(remembered, true);
    else this.#draw();
  }

  // --- models -----------------------------------------------------------------------------------

  model(name) {
    return this.models.find((model) => model.name === name);
  }

  title(name) {
    return this.model(name)?.title || name || "";
  }

  #fresh() {
    const first = this.models.find((model) => model.here && !model.refused) || this.models[0];
    return { models: first ? [first.name] : [], prompt: null, sampling: {} };
  }

  // --- what is open -----------------------------------------------------------------------------

  get running() {
    return Boolean(this.view?.lanes.some(({ messages }) => messages.at(-1)?.state === "streaming"));
  }

  #path(id, rest = "") {
    return `chats/${encodeURIComponent(id)}${rest}?${this.#query()}`;
  }

  #query() {
    return this.whole ? "drawn=true&all=true" : "drawn=true";
  }

  async open(id, quietly = false) {
    this.whole = false;
    this.root.classList.remove("with-side");
    try {
      this.#took(await ask("GET", this.#path(id)));
    } catch (error) {
      if (!quietly) this.fail(error);
      if (error.status === 404) {
        this.begin();
        this.list.load();
      } else this.#draw();
    }
  }

  begin() {
    this.events.stop();
    this.view = null;
    this.draft = { ...this.#fresh(), models: this.draft.models };
    atelier.drafts.forget(SYSTEM);
    this.root.classList.remove("with-side");
    this.#remember(null);
    this.say(null);
    this.#draw();
    this.composer.focus();
  }

  // A new conversation with the models that were asked for, as far as they are there by now.
  async #talkWith() {
    const names = JSON.parse(sessionStorage.getItem(WITH) || "[]");
    sessionStorage.removeItem(WITH);
    try {
      this.models = (await ask("GET", "chat-models")).models;
    } catch (error) {
      return this.fail(error);
    }
    const known = names.filter((name) => this.model(name)).slice(0, MAX_LANES);
    if (known.length) this.draft.models = known;
    this.begin();
  }

  async refresh() {
    if (!this.view) return;
    const { id } = this.view;
    try {
      const view = await ask("GET", this.#path(id));
      if (this.view?.id === id) this.#took(view, false);
    } catch (error) {
      this.fail(error);
    }
  }

  // Another window may have changed what this one shows.
  #lookAgain() {
    if (this.view && !this.running) this.refresh();
    if (this.list) this.list.load();
  }

  #remember(id) {
    if (id) sessionStorage.setItem(REMEMBERED, id);
    else sessionStorage.removeItem(REMEMBERED);
    this.list.mark(id);
  }

  #took(view, clears = true) {
    this.view = view;
    this.draft.models = view.lanes.map(({ model }) => model);
    if (clears) this.say(null);
    this.#remember(view.id);
    this.#draw();
    if (this.running) this.events.start(view.id);
    else this.events.stop();
  }

  // Sends a change and shows the conversation as it is then. Returns whether it was taken.
  async act(change) {
    try {
      await this.saving;
      this.#took(await change());
      return true;
    } catch (error) {
      this.fail(error);
      if (error.status === 409) await this.refresh(); // it has gone on in another window
      if (error.status === 404 && this.view) this.list.load();
      return false;
    }
  }

  fail(error) {
    this.say(error.message);
  }

  say(sentence) {
    this.notice.replaceChildren(...(sentence ? [h("div", { class: "error" }, sentence)] : []));
    this.notice.hidden = !sentence;
  }

  // How many conversations have come in, and what was left out of them.
  #tellOf({ count, left_out: leftOut }) {
    const sentences = [...(count > 1 ? [say("{count} conversations came in. This is the newest.", { count })] : []), ...leftOut];
    if (!sentences.length) return;
    this.notice.replaceChildren(h("div", { class: "remarks" }, sentences.map((sentence) => h("p", {}, sentence))));
    this.notice.hidden = false;
  }

  // --- what a person does -----------------------------------------------------------------------

  // Returns whether the text was taken; it stays in its place otherwise.
  async send(text) {
    if (!this.view) {
      const { models, prompt, sampling } = this.draft;
      const system_prompt = prompt ?? this.model(models[0])?.system_prompt ?? "";
      const made = await this.act(() => ask("POST", "chats?drawn=true", { models, system_prompt, sampling }));
      if (!made) return false;
      atelier.drafts.forget(SYSTEM);
    }
    const taken = await this.act(() => ask("POST", this.#path(this.view.id, "/messages"), { revision: this.view.revision, text }));
    this.list.load();
    if (!taken) await this.refresh();
    this.lanes.forEach(({ log }) => log.toEnd());
    return taken;
  }

  async stop() {
    if (!this.view) return;
    try {
      await ask("POST", this.#path(this.view.id, "/stop"), {});
    } catch (error) {
      this.fail(error);
    }
  }

  async remove() {
    const { id, revision } = this.view;
    try {
      await ask("DELETE", `chats/${encodeURIComponent(id)}?revision=${revision}`);
      this.begin();
    } catch (error) {
      this.fail(error);
      if (error.status === 409) await this.refresh();
    }
    this.list.load();
  }

  #onMessage(verb, message, more = {}) {
    return this.act(() => ask("POST", `chats/messages/${message.id}/${verb}?${this.#query()}`, { revision: this.view.revision, ...more }));
  }

  #acts(lane) {
    return {
      earlier: () => {
        this.whole = true;
        this.refresh();
      },
      again: (message) => this.#onMessage("answer", message),
      goOn: (message) => this.#onMessage("continue", message),
      turn: (id, step) => this.#onMessage("turn", { id }, { step }),
      edit: (message, text) => this.#onMessage("edit", message, { text }),
      onCount: (facts) => this.#countTokens(lane, facts),
    };
  }

  // --- lanes and settings -----------------------------------------------------------------------

  addLane() {
    const taken = this.draft.models;
    const free = this.models.find((model) => model.here && !model.refused && !taken.includes(model.name));
    const name = (free || this.model(taken[0]))?.name;
    if (!name || taken.length >= MAX_LANES) return;
    if (!this.view) {
      taken.push(name);
      this.#draw();
    } else {
      this.act(() => ask("POST", this.#path(this.view.id, "/lanes"), { revision: this.view.revision, model: name }));
    }
  }

  #dropLane(at) {
    if (!this.view) {
      this.draft.models.splice(at, 1);
      this.#draw();
      return;
    }
    const { revision, lanes } = this.view;
    this.act(() => ask("DELETE", `${this.#path(lanes[at].id, "/lane")}&revision=${revision}`));
  }

  #choose(at, name) {
    if (!this.view) {
      this.draft.models[at] = name;
      this.#draw();
      return;
    }
    const { revision, lanes } = this.view;
    this.act(() => ask("PATCH", this.#path(lanes[at].id), { revision, model: name })).then((taken) => taken || this.#draw());
  }

  #settingsChanged() {
    const values = this.settings.values();
    this.settings.refuse(null);
    if (!this.view) {
      const own = this.model(this.draft.models[0])?.system_prompt ?? "";
      this.draft.prompt = values.system_prompt === own ? null : values.system_prompt;
      this.draft.sampling = values.sampling;
      atelier.drafts.keep(SYSTEM, this.draft.prompt ?? "");
      return;
    }
    const { id } = this.view;
    this.saving = this.saving.then(async () => {
      try {
        for (const lane of [...this.view.lanes]) {
          if (this.view?.id !== id) return;
          this.view = await ask("PATCH", this.#path(lane.id), { revision: this.view.revision, ...values });
        }
      } catch (error) {
        this.settings.refuse(error.message);
        if (error.status === 409) await this.refresh();
      }
    });
  }

  // --- drawing ----------------------------------------------------------------------------------

  #draw() {
    const names = this.draft.models;
    const ids = this.view ? this.view.lanes.map(({ id }) => id) : names.map((_, at) => `draft-${at}`);
    if (this.lanes.map(({ id }) => id).join() !== ids.join()) {
      this.lanes.forEach(({ log }) => log.leave());
      this.lanes = ids.map((id, at) => this.#column(id, at));
      this.columns.replaceChildren(...this.lanes.map(({ element }) => element));
      this.columns.dataset.count = ids.length;
    }
    this.lanes.forEach((lane, at) => {
      this.#fillPicker(lane, names[at], ids.length);
      const shown = this.view?.lanes[at];
      if (shown?.messages.length) lane.log.draw(shown);
      else lane.log.empty(this.#invitation(names[at], at));
    });
    this.composer.runs(this.running);
    this.composer.lanes(ids.length, MAX_LANES);
    this.head.show(this.view);
    const own = this.model(names[0]);
    const prompt = this.draft.prompt ?? own?.system_prompt ?? "";
    this.settings.show(this.view?.lanes[0] || { system_prompt: prompt, sampling: this.draft.sampling }, own);
    this.lanes.forEach((lane) => (lane.tokens = null));
    this.#count();
  }

  #column(id, at) {
    const picker = h("select", { class: "model", "aria-label": say("Model"), onchange: () => this.#choose(at, picker.value) });
    const drop = iconButton("close", say("Take this model away"), () => this.#dropLane(at), { class: "icon drop" });
    const about = h("p", { class: "about" });
    const lane = { id, picker, drop, about };
    lane.log = new Lane(this.#acts(lane), (name) => this.title(name));
    lane.element = h("section", { class: "lane" }, h("header", {}, picker, drop), about, lane.log.element);
    return lane;
  }

  #fillPicker({ picker, drop, about }, name, count) {
    const known = this.model(name);
    const options = this.models.map((model) =>
      h("option", { value: model.name, disabled: model.refused }, model.badge ? `${model.title} · ${model.badge}` : model.title),
    );
    if (!known && name) options.unshift(h("option", { value: name }, name));
    picker.replaceChildren(...options);
    picker.value = name;
    picker.disabled = this.running;
    drop.hidden = count < 2;
    drop.disabled = this.running;
    about.textContent = known && (!known.here || known.refused) ? known.about : "";
    about.hidden = !about.textContent;
  }

  #invitation(name, at) {
    const model = this.model(name);
    if (!model) {
      return h("div", { class: "empty-state" }, h("strong", {}, say("There is no language model yet")), h("p", {}, say("Put a model's file into the folder chat of the home folder, or ask the host for one.")));
    }
    const examples = speaks(model.languages)
      ? [say("Explain in three sentences why the sky is blue."), say("Write a short poem about autumn rain."), say("Give me five ideas for a quick dinner.")]
      : ["Explain in three sentences why the sky is blue.", "Write a short poem about autumn rain.", "Give me five ideas for a quick dinner."];
    const buttons = examples.map((text) => h("button", { type: "button", onclick: () => this.composer.sendThis(text) }, text));
    return h(
      "div",
      { class: "empty-state" },
      h("strong", {}, say("Talk with {model}", { model: model.title })),
      h("p", {}, model.about),
      at === 0 && h("p", {}, say("Write below, or begin with one of these:")),
      at === 0 && h("div", { class: "button-row" }, buttons),
    );
  }

  // --- while an answer is written ---------------------------------------------------------------

  #news(news) {
    for (const each of news) {
      const lane = this.lanes.find(({ log }) => log.live?.id === each.id);
      lane?.log.take(each);
    }
  }

  #countTokens(lane, facts) {
    if (facts.to_read) lane.tokens = facts.to_read + (facts.tokens || 0);
    this.#count();
  }

  // How full the fullest context is: counted by the model, never here.
  #count() {
    let fullest = null;
    this.lanes.forEach((lane, at) => {
      const limit = this.model(this.draft.models[at])?.context_length;
      const used = lane.tokens ?? (this.view ? this.view.lanes[at]?.used : 0);
      if (!limit || used === null || used === undefined) return;
      if (!fullest || used / limit > fullest.used / fullest.limit) fullest = { used, limit };
    });
    this.composer.count(fullest);
  }
}
