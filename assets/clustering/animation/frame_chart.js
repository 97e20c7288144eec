// The curve beside an animation: what has been reached so far in full, what comes as a faint line.

import { ticks, short } from "../plot/axes.js";
import { figures } from "../parts.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [46, 14, 40, 28];

export function drawTitle(context, colours, title, value = "") {
  context.textAlign = "left";
  context.font = `600 12.5px ${colours.font}`;
  context.fillStyle = colours.text;
  context.fillText(title, 4, 16);
  if (!value) return;
  context.font = `12px ${colours.font}`;
  context.fillStyle = colours.subdued;
  context.fillText(value, 4, 32);
}

// Where a click on the chart leads: the frame at this pixel.
export function frameAt(x, width, frames) {
  const share = (x - LEFT) / (width - LEFT - RIGHT);
  return Math.max(0, Math.min(frames - 1, Math.round(share * (frames - 1))));
}

function frameOf(width, height, frames, low, high) {
  const [w, h] = [width - LEFT - RIGHT, height - TOP - BOTTOM];
  return {
    x: (frame) => LEFT + (frames > 1 ? (w * frame) / (frames - 1) : w / 2),
    y: (value) => TOP + h - (h * (value - low)) / (high - low || 1),
  };
}

function grid(context, width, height, low, high, place, colours, format) {
  context.font = `11px ${colours.font}`;
  const { step, values } = ticks(low, high, Math.max(4, height / 50));
  for (const value of values) {
    const y = Math.round(place.y(value)) + 0.5;
    context.beginPath();
    context.moveTo(LEFT, y);
    context.lineTo(width - RIGHT, y);
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.stroke();
    context.textAlign = "right";
    context.fillStyle = colours.subdued;
    context.fillText(format ? format(value, step) : short(value, step), LEFT - 7, y + 4);
  }
}

// values: one a frame. named: [[frame, text]] below the axis.
export function paintCurve(context, width, height, { title, values, frame, named, axis }, colours) {
  drawTitle(context, colours, title, figures(values[frame]));
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  [low, high] = [low - room, high + room];
  const place = frameOf(width, height, values.length, low, high);
  grid(context, width, height, low, high, place, colours);

  const draw = (from, to, colour, thick) => {
    context.beginPath();
    for (let at = from; at <= to; at++) {
      if (at === from) context.moveTo(place.x(at), place.y(values[at]));
      else context.lineTo(place.x(at), place.y(values[at]));
    }
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.lineJoin = "round";
    context.stroke();
  };
  draw(frame, values.length - 1, colours.line, 2);
  draw(0, frame, colours.accent, 2);
  if (values.length <= 60) {
    for (let at = 0; at <= frame; at++) dot(context, place.x(at), place.y(values[at]), 2.4, colours.accent);
  }
  dot(context, place.x(frame), place.y(values[frame]), 5.5, colours.background);
  dot(context, place.x(frame), place.y(values[frame]), 4.2, colours.accent);

  context.font = `11px ${colours.font}`;
  context.fillStyle = colours.subdued;
  let free = -Infinity;
  for (const [at, text] of named) {
    const [x, half] = [place.x(at), context.measureText(text).width / 2];
    if (x - half < free) continue;
    context.textAlign = "center";
    context.fillText(text, x, height - 13);
    free = x + half + 8;
  }
  context.textAlign = "right";
  context.fillText(axis, width - RIGHT, height - 1);
}

function dot(context, x, y, radius, fill) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = fill;
  context.fill();
}

// bands: [{values (one a frame), fill}] from the bottom up, which sum to `whole` at each frame.
export function paintBands(context, width, height, { title, said, bands, whole, frame, axis }, colours) {
  drawTitle(context, colours, title, said);
  const frames = bands[0].values.length;
  const place = frameOf(width, height, frames, 0, whole);
  const below = new Float64Array(frames);
  for (const { values, fill } of bands) {
    const shape = (last, alpha) => {
      context.beginPath();
      for (let at = 0; at <= last; at++) context.lineTo(place.x(at), place.y(below[at]));
      for (let at = last; at >= 0; at--) context.lineTo(place.x(at), place.y(below[at] + values[at]));
      context.closePath();
      context.globalAlpha = alpha;
      context.fillStyle = fill;
      context.fill();
      context.globalAlpha = 1;
    };
    shape(frames - 1, 0.13);
    if (frame) shape(frame, 0.85);
    values.forEach((value, at) => (below[at] += value));
  }
  grid(context, width, height, 0, whole, place, colours);
  const x = place.x(frame);
  context.beginPath();
  context.moveTo(x, TOP - 2);
  context.lineTo(x, height - BOTTOM);
  context.strokeStyle = colours.text;
  context.lineWidth = 1.5;
  context.stroke();
  context.font = `11px ${colours.font}`;
  context.textAlign = "right";
  context.fillStyle = colours.subdued;
  context.fillText(axis, width - RIGHT, height - 12);
}
