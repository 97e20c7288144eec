// The settings of a conversation: system prompt and sampling. What is empty, the model's file says.

import { h, say } from "./page.js";

const OWN = "";
const CUSTOM = "custom";
const PAUSE = 500; // ms

export class Settings {
  // onChange(): called when the person has changed something.
  constructor({ fields, presets }, onChange) {
    this.fields = fields;
    this.presets = presets;
    this.onChange = onChange;
    this.defaults = {};
    this.prompt = h("textarea", { rows: 3, id: "chat-system", onchange: () => this.#onChange(), oninput: () => this.#onInput() });
    const choices = [[OWN, say("The model's own")], ...presets.map(({ name, title }) => [name, title]), [CUSTOM, say("Custom")]];
    this.preset = h("select", { id: "chat-preset", onchange: () => this.#take() }, choices.map(([value, title]) => h("option", { value }, title)));
    this.controls = new Map();
    const rows = fields.map((field) => this.#row(field));
    this.said = h("div", { class: "error", role: "alert", hidden: true });
    this.element = h(
      "details",
      { class: "settings", id: "chat-settings" },
      h("summary", {}, say("Settings")),
      h("div", { class: "body" },
        h("label", { class: "control" }, h("span", {}, say("System prompt")), this.prompt, h("small", {}, say("Comes before everything that is said, and is never left out."))),
        h("label", { class: "control" }, h("span", {}, say("Sampling")), this.preset),
        rows,
        this.said),
    );
  }

  // Leaving the field keeps what was typed, and so does a pause: a reload leaves no field.
  #onInput() {
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.#onChange(), PAUSE);
  }

  #onChange() {
    clearTimeout(this.pause);
    this.onChange();
  }

  #row(field) {
    if (field.name === "stop") {
      const input = h("textarea", { rows: 2, id: "chat-stop-strings", onchange: () => this.#custom() });
      this.controls.set(field.name, { input });
      return h("label", { class: "control" }, h("span", {}, field.title), input, h("small", {}, field.info, " ", say("One a line.")));
    }
    const name = field.name.replaceAll("_", "-");
    const input = h("input", { type: "number", id: `chat-${name}`, step: field.slides ? "any" : 1, min: field.low, max: field.high, "aria-label": field.title });
    const slider = field.slides && h("input", { type: "range", min: field.low ?? field.step, max: field.high, step: field.step, tabindex: "-1", "aria-hidden": "true" });
    input.addEventListener("input", () => slider && (slider.value = input.value === "" ? this.defaults[field.name] : input.value));
    input.addEventListener("change", () => this.#custom());
    if (slider) {
      slider.addEventListener("input", () => (input.value = slider.value));
      slider.addEventListener("change", () => this.#custom());
    }
    this.controls.set(field.name, { input, slider });
    const [help, empty] = field.info.split(" Empty:");
    if (!slider && empty) input.placeholder = "–";
    return h("div", { class: "control" }, h("div", { class: "line" }, h("span", {}, field.title), input), slider, h("small", {}, field.slides ? help : field.info));
  }

  // Shows a conversation's settings; `model` has the values of what is left open.
  show({ system_prompt, sampling }, model) {
    this.defaults = model?.sampling || {};
    if (document.activeElement !== this.prompt) this.prompt.value = system_prompt;
    this.#fill(sampling);
  }

  values() {
    const sampling = {};
    for (const [name, { input }] of this.controls) {
      if (name === "stop") {
        const lines = input.value.split("\n").filter(Boolean);
        if (lines.length) sampling.stop = lines;
      } else if (input.value !== "") {
        sampling[name] = Number(input.value);
      }
    }
    return { system_prompt: this.prompt.value, sampling };
  }

  refuse(sentence) {
    this.said.textContent = sentence || "";
    this.said.hidden = !sentence;
  }

  #fill(sampling) {
    for (const [name, { input, slider }] of this.controls) {
      const value = sampling[name];
      if (input === document.activeElement) continue;
      if (name === "stop") input.value = (value || []).join("\n");
      else {
        input.value = value ?? (name === "seed" ? -1 : "");
        if (slider) {
          const own = this.defaults[name];
          input.placeholder = own ?? "–";
          slider.value = value ?? own ?? slider.max;
        }
      }
    }
    this.#name();
  }

  #take() {
    const preset = this.presets.find(({ name }) => name === this.preset.value);
    const kept = this.values().sampling;
    const others = Object.fromEntries(Object.entries(kept).filter(([name]) => !this.#slides(name)));
    if (this.preset.value !== CUSTOM) this.#fill({ ...others, ...(preset?.sampling || {}) });
    this.onChange();
  }

  #custom() {
    this.#name();
    this.onChange();
  }

  #slides(name) {
    return this.fields.some((field) => field.name === name && field.slides);
  }

  // Shows which preset the values are.
  #name() {
    const values = Object.entries(this.values().sampling).filter(([name]) => this.#slides(name));
    const same = ({ sampling }) => {
      const entries = Object.entries(sampling);
      return entries.length === values.length && entries.every(([name, value]) => values.some(([other, given]) => other === name && given === value));
    };
    this.preset.value = values.length ? this.presets.find(same)?.name || CUSTOM : OWN;
  }
}
