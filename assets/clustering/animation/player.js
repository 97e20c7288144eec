// Play, pause, back, forward, speed: which frame of an animation is shown, and since when.

import { h, say } from "../../page.js";
import { choice, setIcon, tool } from "../parts.js";

const SPEEDS = [0.5, 1, 2, 4];
const TWEEN = 480; // ms that a movement takes at most

// show(frame, share): share < 1 while what moves is still on its way.
export class Player {
  frame = 0;
  frames = 0;
  playing = false;
  speed = 1;

  constructor(show) {
    this.show = show;
    const act = (name) => () => this[name]();
    this.button = tool("play", say("Play"), act("toggle"), { class: "tool play" });
    this.buttons = [
      tool("start", say("To the start"), act("toStart")),
      tool("back", say("One step back"), act("back")),
      this.button,
      tool("forward", say("One step forward"), act("forward")),
      tool("end", say("To the end"), act("toEnd")),
    ];
    this.slider = h("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": say("Step") });
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    this.counter = h("span", { class: "counter" });
    const speeds = choice(say("Speed"), SPEEDS.map((speed) => [String(speed), `${speed}×`]), "1", (speed) => (this.speed = Number(speed)));
    this.said = h("p", { class: "sentence" });
    this.element = h(
      "div",
      { class: "player", role: "group", "aria-label": say("Step by step") },
      h("div", { class: "line" }, h("div", { class: "buttons" }, this.buttons), this.slider, this.counter, speeds),
      this.said,
    );
    this.element.addEventListener("keydown", (event) => {
      const inSlider = event.target === this.slider && event.key !== " "; // which has its own arrows
      if (!inSlider && event.target.closest("button") === null && this.key(event)) event.preventDefault();
    });
  }

  load(frames, interval, tweens) {
    this.pause();
    Object.assign(this, { frames, interval, tweens: tweens && !matchMedia("(prefers-reduced-motion: reduce)").matches });
    this.slider.max = frames - 1;
    this.seek(0);
  }

  key({ key }) {
    const acts = { " ": "toggle", ArrowLeft: "back", ArrowRight: "forward", Home: "toStart", End: "toEnd" };
    if (!acts[key]) return false;
    this[acts[key]]();
    return true;
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.frames < 2) return;
    if (this.frame === this.frames - 1) this.go(0, 1);
    this.playing = true;
    this.since = performance.now();
    this.update();
    this.next();
  }

  pause() {
    this.playing = false;
    if (this.frames) this.update();
  }

  toStart() {
    this.seek(0);
  }

  toEnd() {
    this.seek(this.frames - 1);
  }

  back() {
    this.seek(this.frame - 1);
  }

  forward() {
    this.pause();
    if (this.frame < this.frames - 1) this.move(this.frame + 1);
  }

  seek(frame) {
    this.playing = false;
    this.go(Math.max(0, Math.min(this.frames - 1, frame)), 1);
  }

  // One frame on, with what moves on its way.
  move(frame) {
    this.since = performance.now();
    this.go(frame, this.tweens ? 0 : 1);
    this.next();
  }

  go(frame, share) {
    this.frame = frame;
    this.share = share;
    this.update();
    this.show(frame, ease(share));
  }

  next() {
    cancelAnimationFrame(this.waiting);
    if (this.playing || this.share < 1) this.waiting = requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    const lasts = this.interval / this.speed;
    const gone = now - this.since;
    if (this.share < 1) {
      this.share = Math.min(1, Math.max(0, gone) / Math.min(TWEEN, lasts * 0.6));
      this.show(this.frame, ease(this.share));
    }
    if (this.playing && gone >= lasts) {
      // Where a frame takes longer than it should last, some are passed over.
      const steps = Math.max(1, Math.min(Math.floor(gone / lasts), 8));
      const frame = Math.min(this.frames - 1, this.frame + steps);
      this.since = now;
      if (frame === this.frames - 1) this.playing = false;
      this.go(frame, this.tweens ? 0 : 1);
    }
    this.next();
  }

  update() {
    const last = this.frame === this.frames - 1;
    this.slider.value = this.frame;
    this.slider.style.setProperty("--done", `${(100 * this.frame) / Math.max(1, this.frames - 1)}%`);
    this.counter.textContent = `${this.frame + 1} / ${this.frames}`;
    setIcon(this.button, this.playing ? "pause" : "play", this.playing ? say("Pause") : say("Play"));
    this.buttons[0].disabled = this.buttons[1].disabled = this.frame === 0;
    this.buttons[3].disabled = this.buttons[4].disabled = last;
    this.said.setAttribute("aria-live", this.playing ? "off" : "polite");
  }

  say(sentence) {
    if (this.said.textContent !== sentence) this.said.textContent = sentence;
  }
}

function ease(share) {
  return share < 0.5 ? 4 * share ** 3 : 1 - (2 - 2 * share) ** 3 / 2;
}
