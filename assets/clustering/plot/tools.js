// The tools that put something on the plot: one sprays and erases points, one sets starting centres.

import { centre } from "../animation/frames.js";
import { colourOf } from "../colours.js";

const MOST = 20_000; // points that can be drawn
const UNDO = 60;
const MOST_CENTRES = 50;
const PACE = 5; // pixels that the pointer moves for each sprayed point, with the smallest brush
const LATER = 200; // ms after a stroke until the page is told

// plot: {camera, onChange()}; notify(points): after each stroke.
export class Spray {
  size = 22; // radius in pixels
  erases = false;
  points = [];

  constructor(plot, notify) {
    this.plot = plot;
    this.notify = notify;
    this.before = [];
    this.at = null;
  }

  put(points) {
    this.points = points.map(([x, y]) => [x, y]);
    this.before = [];
  }

  down(x, y) {
    this.start = this.points.slice();
    this.stroke = { x, y, moved: 0, owed: 0 };
    this.at = [x, y];
    if (this.erases) this.erase(x, y);
    else this.add(x, y);
    this.plot.onChange();
  }

  move(x, y) {
    if (!this.stroke) return;
    const { stroke } = this;
    const far = Math.hypot(x - stroke.x, y - stroke.y);
    stroke.moved += far;
    if (this.erases) this.erase(x, y);
    else if (stroke.moved > 4) {
      stroke.owed += far / PACE + (far * this.size) / 260;
      for (; stroke.owed >= 1; stroke.owed -= 1) {
        const share = Math.random();
        const [angle, radius] = [2 * Math.PI * Math.random(), this.size * Math.sqrt(Math.random())];
        this.add(
          stroke.x + (x - stroke.x) * share + radius * Math.cos(angle),
          stroke.y + (y - stroke.y) * share + radius * Math.sin(angle),
        );
      }
    }
    [stroke.x, stroke.y] = this.at = [x, y];
    this.plot.onChange();
  }

  add(px, py) {
    if (this.points.length < MOST) this.points.push(this.plot.camera.back(px, py).map((value) => Number(value.toPrecision(6))));
  }

  erase(px, py) {
    const { camera } = this.plot;
    this.points = this.points.filter(([x, y]) => {
      const [qx, qy] = camera.point(x, y);
      return Math.hypot(qx - px, qy - py) > this.size;
    });
  }

  up() {
    if (!this.stroke) return;
    this.stroke = null;
    this.finish();
  }

  cancel() {
    if (!this.stroke) return;
    this.stroke = null;
    this.points = this.start;
    this.plot.onChange();
  }

  over(x, y) {
    this.at = [x, y];
    this.plot.drawHints();
  }

  leave() {
    this.at = null;
    this.plot.drawHints();
  }

  finish() {
    this.before.push(this.start);
    if (this.before.length > UNDO) this.before.shift();
    this.tell();
  }

  undo() {
    if (!this.before.length) return;
    this.points = this.before.pop();
    this.tell();
  }

  clear() {
    if (!this.points.length) return;
    this.start = this.points;
    this.points = [];
    this.finish();
  }

  tell() {
    this.plot.onChange();
    clearTimeout(this.later);
    this.later = setTimeout(() => this.notify(this.points), LATER);
  }

  paint(context, colours) {
    if (!this.at) return;
    context.beginPath();
    context.arc(this.at[0], this.at[1], this.size, 0, 2 * Math.PI);
    context.strokeStyle = this.erases ? colours.accent : colours.subdued;
    context.lineWidth = 1.2;
    context.setLineDash(this.erases ? [4, 3] : []);
    context.stroke();
    context.setLineDash([]);
  }
}

export class Centres {
  points = [];

  constructor(plot, notify) {
    this.plot = plot;
    this.notify = notify;
  }

  put(points) {
    this.points = points.map(([x, y]) => [x, y]);
  }

  near(x, y) {
    return this.points.findIndex((place) => {
      const [px, py] = this.plot.camera.point(...place);
      return Math.hypot(px - x, py - y) < 16;
    });
  }

  down(x, y) {
    const found = this.near(x, y);
    this.start = this.points.slice();
    this.held = found;
    this.isNew = found < 0;
    this.from = [x, y];
    if (found < 0 && this.points.length < MOST_CENTRES) this.held = this.points.push(this.plot.camera.back(x, y)) - 1;
    this.plot.onChange();
  }

  move(x, y) {
    if (!(this.held >= 0)) return;
    this.points[this.held] = this.plot.camera.back(x, y);
    if (Math.hypot(x - this.from[0], y - this.from[1]) > 4) this.isNew = true; // it was moved, not clicked
    this.plot.onChange();
  }

  up() {
    if (this.held >= 0 && !this.isNew) this.points.splice(this.held, 1);
    this.held = undefined;
    this.tell();
  }

  cancel() {
    this.points = this.start || [];
    this.held = undefined;
    this.plot.onChange();
  }

  over() {}

  leave() {}

  undo() {
    this.points.pop();
    this.tell();
  }

  clear() {
    this.points = [];
    this.tell();
  }

  tell() {
    this.plot.onChange();
    clearTimeout(this.later);
    this.later = setTimeout(() => this.notify(this.points.map((place) => place.map((value) => Number(value.toPrecision(6))))), LATER);
  }

  paint(context, colours) {
    this.points.forEach((place, cluster) => centre(context, ...this.plot.camera.point(...place), colourOf(cluster, colours), colours));
  }
}
