// The two layers that the plot is painted on, the points below and what changes often above, and the
// chart beside them. They are painted at most once for each frame of the screen.

import { paintPlane, paintSpace } from "./axes.js";
import { h, say } from "../../page.js";
import { NOISE, colourOf } from "../colours.js";
import { densityPicture, paintDensity } from "./density.js";
import { drawMarks } from "./marks.js";
import { centre, ellipse } from "../animation/frames.js";

const SHEER = 0.12; // of ellipses and the lasso

export class Layers {
  painted = 0; // times
  took = 0; // ms of the last painting
  screen = new Float32Array(); // x and y of each point in CSS pixels
  isBusy = false;

  constructor(plot) {
    this.plot = plot;
    this.ground = h("canvas", { class: "ground", "aria-hidden": "true" });
    this.over = h("canvas", { class: "over", tabindex: "0", role: "img" });
    this.hinting = h("p", { class: "hinting", hidden: true });
    this.waiting = h("div", { class: "waiting", role: "status", hidden: true }, h("i"), h("span", {}, say("Fetching the picture")));
    this.side = h("canvas", { class: "side", role: "img", hidden: true });
    this.frame = h("div", { class: "frame" }, this.ground, this.over, this.hinting, this.waiting);
    this.element = h("div", { class: "layers" }, this.frame, this.side);
  }

  busy(isBusy) {
    this.isBusy = isBusy;
    clearTimeout(this.later);
    if (isBusy) this.later = setTimeout(() => (this.waiting.hidden = !this.isBusy), 250);
    else this.waiting.hidden = true;
  }

  hint(text, atTop) {
    this.hinting.textContent = text;
    this.hinting.hidden = !text;
    this.hinting.classList.toggle("at-top", atTop);
  }

  // Another theme: what was made in the old colours is made anew.
  forget() {
    this.density = null;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { camera } = this.plot;
    const [width, height] = [this.frame.clientWidth, this.frame.clientHeight];
    if (!width || !height) return;
    for (const sheet of [this.ground, this.over]) {
      const sides = [Math.round(width * ratio), Math.round(height * ratio)];
      if (sheet.width !== sides[0] || sheet.height !== sides[1]) [sheet.width, sheet.height] = sides;
    }
    camera.resize(width, height);
    const zoomable = camera.dims === 3 || camera.zoom > 1.001 || this.plot.tool() || this.plot.lassos;
    this.over.style.touchAction = zoomable ? "none" : "pan-y"; // a finger scrolls the page past it
    this.over.classList.toggle("draws", Boolean(this.plot.tool()));
    this.ratio = ratio;
  }

  draw() {
    this.all = true;
    this.drawOver();
  }

  drawOver() {
    this.coming ||= requestAnimationFrame(() => {
      this.coming = null;
      const from = performance.now();
      if (!this.frame.clientWidth) return; // in a tab that is closed
      this.resize();
      if (this.all) this.paintSheet(this.ground, (context) => this.paintGround(context));
      this.paintSheet(this.over, (context) => this.paintOver(context));
      if (this.all) {
        this.paintSide();
        this.plot.tip.follow();
      }
      this.all = false;
      this.painted += 1;
      this.took = performance.now() - from;
    });
  }

  paintSheet(sheet, paint) {
    const context = sheet.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, sheet.width, sheet.height);
    paint(context);
  }

  paintGround(context) {
    const { plot, plot: { camera, colours, animation, points, look } } = this;
    context.fillStyle = colours.background;
    context.fillRect(0, 0, camera.width, camera.height);
    const names = this.names();
    const write = camera.dims === 3 ? paintSpace(context, camera, colours, names) : paintPlane(context, camera, colours, names);
    const density = !animation && plot.scene.mode !== "draw" && camera.dims === 2 && points?.header.density;
    if (density) paintDensity(context, camera, this.shade(density), density.extent);
    const positions = plot.shown;
    if (this.screen.length !== (2 * positions.length) / camera.dims) this.screen = new Float32Array((2 * positions.length) / camera.dims);
    const order = camera.place(positions, this.screen);
    if (animation) animation.view.under?.(context, camera, animation.frame, colours);
    const { width, height } = camera;
    drawMarks(context, this.screen, look.marks, look.kinds, { width, height, order, ratio: this.ratio });
    if (!animation && plot.scene.mode !== "draw") plot.thumbs?.paint(context);
    write();
  }

  // The picture of a density, made anew when the clusters, or which of them are hidden, are others.
  shade(density) {
    const { colours, labels, hidden, points } = this.plot;
    const hiding = [...hidden].sort().join();
    const last = this.density;
    if (last?.of !== density || last.labels !== labels || last.hiding !== hiding) {
      const by = labels && { positions: points.positions, labels, hidden };
      this.density = { of: density, labels, hiding, picture: densityPicture(density, colours, by) };
    }
    return this.density.picture;
  }

  names() {
    const { header } = this.plot.points ?? {};
    if (!header || this.plot.scene.mode === "draw") return [];
    return header.axes ?? header.columns ?? [];
  }

  paintOver(context) {
    const { plot, plot: { camera, colours, animation } } = this;
    if (animation) animation.view.over?.(context, camera, animation.frame, animation.share, colours);
    else if (plot.scene.mode === "view") this.paintModel(context);
    this.paintSelection(context);
    this.paintHovered(context);
    plot.tool()?.paint(context, colours);
  }

  // Centres and ellipses of what the labels came from.
  paintModel(context) {
    const { plot, plot: { camera, colours, labelling, hidden } } = this;
    if (!labelling || camera.dims !== 2 || plot.kind === "truth") return;
    (labelling.header.ellipses || []).forEach((each, cluster) => {
      if (hidden.has(cluster)) return;
      ellipse(context, camera, each);
      paintArea(context, colourOf(cluster, colours));
    });
    if (plot.thumbs) return; // a mean of pictures is none, and would hide one
    (labelling.header.centres || []).forEach((place, cluster) => {
      if (!hidden.has(cluster) && place) centre(context, ...camera.point(...place), colourOf(cluster, colours), colours, 6);
    });
  }

  paintSelection(context) {
    const { plot: { colours, selected, path } } = this;
    if (path) {
      context.beginPath();
      for (const [x, y] of path) context.lineTo(x, y);
      context.closePath();
      context.setLineDash([5, 4]);
      paintArea(context, colours.accent);
      context.setLineDash([]);
    }
    if (!selected?.length) return;
    context.beginPath();
    for (const at of selected) {
      if (!this.plot.visible(at)) continue; // hidden since
      const [x, y] = [this.screen[2 * at], this.screen[2 * at + 1]];
      context.moveTo(x + 5.5, y);
      context.arc(x, y, 5.5, 0, 2 * Math.PI);
    }
    context.strokeStyle = colours.text;
    context.globalAlpha = 0.75;
    context.lineWidth = 1.1;
    context.stroke();
    context.globalAlpha = 1;
  }

  paintHovered(context) {
    const { plot: { colours, hovered, labels } } = this;
    if (hovered < 0 || 2 * hovered >= this.screen.length) return;
    const [x, y] = [this.screen[2 * hovered], this.screen[2 * hovered + 1]];
    const ink = labels && labels[hovered] !== NOISE && !this.plot.animation ? colourOf(labels[hovered], colours) : colours.text;
    const picture = this.plot.animation ? null : this.plot.thumbs?.placeOf(hovered);
    for (const [colour, width] of [[colours.background, 5], [ink, 2.2]]) {
      context.beginPath();
      if (picture) context.rect(x - picture.half - 5, y - picture.half - 5, 2 * picture.half + 10, 2 * picture.half + 10);
      else context.arc(x, y, 8, 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
    }
  }

  paintSide() {
    const { plot: { colours, animation } } = this;
    const has = Boolean(animation?.view.chart);
    if (this.side.hidden === has) {
      this.side.hidden = !has;
      this.element.classList.toggle("with-side", has);
      this.draw(); // the plot has another width now
    }
    if (!has || !this.side.clientWidth) return;
    const [width, height] = [this.side.clientWidth, this.side.clientHeight];
    [this.side.width, this.side.height] = [Math.round(width * this.ratio), Math.round(height * this.ratio)];
    this.paintSheet(this.side, (context) => animation.view.chart(context, width, height, animation.frame, colours));
  }
}

function paintArea(context, colour) {
  context.globalAlpha = SHEER;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = colour;
  context.lineWidth = 1.6;
  context.stroke();
}
