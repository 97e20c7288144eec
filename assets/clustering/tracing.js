// What a chart looks like on the page, painted once more: boxes, texts and drawings as the browser has
// laid them out, with all styles resolved. The context is a canvas's or one that writes SVG (vector.js).

import { hexOf } from "./colours.js";

const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const read = new Map();

// Any colour of CSS, also color-mix() and color(), as [#rrggbb, alpha].
export function ink(colour) {
  if (!read.has(colour)) {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = "#000";
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, alpha] = pen.getImageData(0, 0, 1, 1).data;
    read.set(colour, [hexOf([r, g, b]), alpha / 255]);
  }
  return read.get(colour);
}

// An element and all that is in it. [left, top] of the page is put at the context's 0, 0.
export function trace(context, element, [left, top]) {
  const tracer = new Tracer(context, left, top);
  tracer.visit(element, 1);
}

class Tracer {
  constructor(context, left, top) {
    Object.assign(this, { context, left, top });
  }

  visit(element, sheer) {
    const style = getComputedStyle(element);
    if (style.display === "none") return;
    sheer *= Number(style.opacity);
    const isDrawing = element instanceof SVGElement;
    const about = isDrawing ? element.querySelector(":scope > title")?.textContent : element.title;
    const named = about && this.context.isVector;
    if (named) this.context.open(about);
    if (!isDrawing || !element.ownerSVGElement) this.box(element, style, sheer);
    else SHAPES[element.localName]?.(this, element, style, sheer);
    for (const child of element.childNodes) {
      if (child.nodeType === Node.TEXT_NODE && !isDrawing) this.words(child, style, sheer);
      else if (child instanceof Element && child.localName !== "title") this.visit(child, sheer);
    }
    if (named) this.context.restore();
  }

  fill(colour, sheer) {
    const [plain, alpha] = ink(colour);
    Object.assign(this.context, { fillStyle: plain, globalAlpha: alpha * sheer });
    return alpha * sheer > 0;
  }

  stroke(colour, width, sheer, dash = []) {
    const [plain, alpha] = ink(colour);
    Object.assign(this.context, { strokeStyle: plain, lineWidth: width, globalAlpha: alpha * sheer });
    this.context.setLineDash(dash);
    return alpha * sheer > 0 && width > 0;
  }

  // --- boxes of HTML ---

  box(element, style, sheer) {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) return this.edges(box, style, sheer);
    const round = Math.min(Number.parseFloat(style.borderTopLeftRadius) * (style.borderTopLeftRadius.endsWith("%") ? box.width / 100 : 1), box.width / 2, box.height / 2);
    this.outline(box, round, 0);
    if (this.fill(style.backgroundColor, sheer)) this.context.fill();
    this.hatch(box, style.backgroundImage, sheer);
    const [, colour, width] = /^(.+) 0px 0px 0px ([\d.]+)px inset$/.exec(style.boxShadow) ?? [];
    if (colour && this.stroke(colour, Number(width), sheer)) {
      this.outline(box, round, width / 2);
      this.context.stroke();
    }
    this.edges(box, style, sheer, round);
  }

  outline({ left, top, width, height }, round, inset) {
    this.context.beginPath();
    const place = [left - this.left + inset, top - this.top + inset, width - 2 * inset, height - 2 * inset];
    if (round > inset) this.context.roundRect(...place, round - inset);
    else this.context.rect(...place);
  }

  // Borders: one all around, or single sides.
  edges(box, style, sheer, round = 0) {
    const sides = ["Top", "Right", "Bottom", "Left"].map((side) => ({
      width: style[`border${side}Style`] === "none" ? 0 : Number.parseFloat(style[`border${side}Width`]),
      colour: style[`border${side}Color`],
      dash: style[`border${side}Style`] === "dashed" ? [4, 3] : [],
    }));
    const [{ width, colour, dash }] = sides;
    if (sides.every((side) => side.width && side.width === width && side.colour === colour)) {
      if (!this.stroke(colour, width, sheer, dash)) return;
      this.outline(box, round, width / 2);
      this.context.stroke();
      return;
    }
    const [x0, y0, x1, y1] = [box.left - this.left, box.top - this.top, box.right - this.left, box.bottom - this.top];
    const half = sides.map((side) => side.width / 2);
    const lines = [[x0, y0 + half[0], x1, y0 + half[0]], [x1 - half[1], y0, x1 - half[1], y1], [x0, y1 - half[2], x1, y1 - half[2]], [x0 + half[3], y0, x0 + half[3], y1]];
    sides.forEach((side, at) => {
      if (!side.width || !this.stroke(side.colour, side.width, sheer, side.dash)) return;
      const [ax, ay, bx, by] = lines[at];
      this.lines([[[ax, ay], [bx, by]]]);
      this.context.stroke();
    });
  }

  // repeating-linear-gradient(45deg, one 0 a, other a b): stripes of bars.
  hatch(box, image, sheer) {
    const found = /^repeating-linear-gradient\(45deg, (.+?) 0px, .+? ([\d.]+)px, (.+?) [\d.]+px, .+? ([\d.]+)px\)$/.exec(image);
    if (!found) return;
    const [, one, wide, other, pitch] = found;
    const { context } = this;
    context.save();
    this.outline(box, 0, 0);
    context.clip();
    if (this.fill(other, sheer)) {
      this.outline(box, 0, 0);
      context.fill();
    }
    const [x, y, step] = [box.left - this.left, box.bottom - this.top, pitch * Math.SQRT2];
    const stripes = [];
    for (let at = 0; at < box.width + box.height; at += step) stripes.push([[x + at - box.height - 2, y - box.height - 2], [x + at + 2, y + 2]]);
    this.lines(stripes);
    if (this.stroke(one, Number(wide), sheer)) context.stroke();
    context.restore();
  }

  lines(runs, closed = false) {
    this.context.beginPath();
    for (const run of runs) {
      run.forEach(([x, y], at) => (at ? this.context.lineTo(x, y) : this.context.moveTo(x, y)));
      if (closed || run.closed) this.context.closePath();
    }
  }

  // --- texts of HTML ---

  words(node, style, sheer) {
    if (!node.data.trim() || !this.fill(style.color, sheer)) return;
    const { context } = this;
    this.font(style);
    const align = { right: "right", end: "right", center: "center" }[style.textAlign] ?? "left";
    context.textAlign = align;
    for (const { text, box } of linesOf(node)) {
      const { fontBoundingBoxAscent: up, fontBoundingBoxDescent: low } = context.measureText(text);
      const x = { left: box.left, right: box.right, center: (box.left + box.right) / 2 }[align] - this.left;
      context.fillText(text, x, (box.top + box.bottom + up - low) / 2 - this.top);
    }
  }

  font({ fontWeight, fontSize }) {
    this.context.font = `${fontWeight} ${fontSize} system-ui, sans-serif`;
  }

  // --- drawings ---

  // A place in an element's own units → of the context.
  from(element) {
    const { a, b, c, d, e, f } = element.getScreenCTM();
    const place = (x, y) => [a * x + c * y + e - this.left, b * x + d * y + f - this.top];
    return Object.assign(place, { scale: Math.sqrt(Math.abs(a * d - b * c)), angle: Math.atan2(b, a) });
  }

  // What is between beginPath() and its paint.
  paint(draw, style, sheer, scale) {
    const wide = style.vectorEffect === "non-scaling-stroke" ? 1 : scale;
    const stroke = () => {
      const dash = style.strokeDasharray === "none" ? [] : style.strokeDasharray.split(/[ ,]+/).map((each) => Number.parseFloat(each) * wide);
      if (style.stroke === "none" || !this.stroke(style.stroke, Number.parseFloat(style.strokeWidth) * wide, sheer * Number(style.strokeOpacity), dash)) return;
      Object.assign(this.context, { lineCap: style.strokeLinecap, lineJoin: style.strokeLinejoin });
      draw();
      this.context.stroke();
      Object.assign(this.context, { lineCap: "butt", lineJoin: "miter" });
    };
    const first = style.paintOrder.startsWith("stroke");
    if (first) stroke();
    if (style.fill !== "none" && this.fill(style.fill, sheer * Number(style.fillOpacity))) {
      draw();
      this.context.fill();
    }
    if (!first) stroke();
  }

  shape(element, style, sheer, runs, closed = false) {
    const place = this.from(element);
    const placed = runs.map((run) => Object.assign(run.map(([x, y]) => place(x, y)), { closed: run.closed }));
    if (style.shapeRendering === "crispedges" && placed[0]) crisp(placed[0]);
    this.paint(() => this.lines(placed, closed), style, sheer, place.scale);
  }
}

const value = (element, ...names) => names.map((name) => element[name].baseVal.value);

const SHAPES = {
  line(tracer, element, style, sheer) {
    const [x1, y1, x2, y2] = value(element, "x1", "y1", "x2", "y2");
    tracer.shape(element, { ...plainly(style), fill: "none" }, sheer, [[[x1, y1], [x2, y2]]]);
  },
  polyline(tracer, element, style, sheer) {
    tracer.shape(element, style, sheer, [Array.from(element.points, ({ x, y }) => [x, y])]);
  },
  path(tracer, element, style, sheer) {
    tracer.shape(element, style, sheer, runsOf(element.getAttribute("d")));
  },
  rect(tracer, element, style, sheer) {
    const [x, y, width, height] = value(element, "x", "y", "width", "height");
    const corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]];
    tracer.shape(element, style, sheer, [corners], true);
  },
  circle(tracer, element, style, sheer) {
    const place = tracer.from(element);
    const [x, y] = place(...value(element, "cx", "cy"));
    const radius = Number.parseFloat(style.r) * place.scale;
    tracer.paint(() => {
      tracer.context.beginPath();
      tracer.context.arc(x, y, radius, 0, 2 * Math.PI);
    }, style, sheer, place.scale);
  },
  text(tracer, element, style, sheer) {
    const { context } = tracer;
    const place = tracer.from(element);
    const at = (name) => (element[name].baseVal.numberOfItems ? element[name].baseVal.getItem(0).value : 0);
    const [x, y] = place(at("x") + at("dx"), at("y") + at("dy"));
    tracer.font(style);
    context.textAlign = { middle: "center", end: "right" }[style.textAnchor] ?? "left";
    context.save();
    context.translate(x, y);
    if (place.angle) context.rotate(place.angle);
    if (style.stroke !== "none" && tracer.stroke(style.stroke, Number.parseFloat(style.strokeWidth), sheer)) {
      context.lineJoin = "round";
      context.strokeText(element.textContent, 0, 0);
      context.lineJoin = "miter";
    }
    if (tracer.fill(style.fill, sheer)) context.fillText(element.textContent, 0, 0);
    context.restore();
  },
};

// As much of a computed style as paints; a copy of all of it would be long.
function plainly({ vectorEffect, strokeDasharray, stroke, strokeWidth, strokeOpacity, strokeLinecap, strokeLinejoin, paintOrder, fillOpacity, shapeRendering }) {
  return { vectorEffect, strokeDasharray, stroke, strokeWidth, strokeOpacity, strokeLinecap, strokeLinejoin, paintOrder, fillOpacity, shapeRendering };
}

// A level or upright line of one pixel fills pixels, not two halves of them.
function crisp(run) {
  for (const axis of [0, 1]) {
    if (run.every((place) => Math.abs(place[axis] - run[0][axis]) < 0.01)) {
      for (const place of run) place[axis] = Math.round(place[axis] - 0.5) + 0.5;
    }
  }
}

// The straight lines of a path: M, L, H, V, Z and their small letters, which is all that charts have.
export function runsOf(d) {
  const runs = [];
  let [x, y, run] = [0, 0, null];
  for (const [, letter, rest] of d.matchAll(/([a-z])([^a-z]*)/gi)) {
    const numbers = (rest.match(/-?(?:\d+\.?\d*|\.\d+)/g) ?? []).map(Number);
    const kind = letter.toUpperCase();
    const moved = letter !== kind;
    if (kind === "Z") {
      run.closed = true;
      [x, y] = run[0];
      continue;
    }
    const step = kind === "H" || kind === "V" ? 1 : 2;
    for (let at = 0; at < numbers.length; at += step) {
      if (kind !== "V") x = numbers[at] + (moved ? x : 0);
      if (kind !== "H") y = numbers[at + step - 1] + (moved ? y : 0);
      if (kind === "M" && !at) runs.push((run = []));
      // A canvas leaves out lines of no length, which are dots where their ends are round.
      if (run.length && run.at(-1)[0] === x && run.at(-1)[1] === y) run.push([x + 0.01, y]);
      else run.push([x, y]);
    }
  }
  return runs;
}

// The lines into which a text is broken, each with its box.
function linesOf(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  if (range.getClientRects().length === 1) return [{ text: tidy(node.data), box: range.getBoundingClientRect() }];
  const lines = [];
  for (let at = 0; at < node.length; at++) {
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    const [box] = range.getClientRects();
    if (!box?.width) {
      if (lines.length) lines.at(-1).text += node.data[at]; // the second half of a letter
      continue;
    }
    const last = lines.at(-1);
    if (last && Math.abs(last.box.top - box.top) < box.height / 2) {
      last.text += node.data[at];
      last.box = { ...last.box, right: Math.max(last.box.right, box.right), left: Math.min(last.box.left, box.left) };
    } else lines.push({ text: node.data[at], box: { left: box.left, right: box.right, top: box.top, bottom: box.bottom } });
  }
  return lines.map(({ text, box }) => ({ text: tidy(text), box })).filter(({ text }) => text);
}

function tidy(text) {
  return text.replace(/\s+/g, " ").trim();
}
