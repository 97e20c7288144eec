// The density of all points behind the few that are drawn, in the colours of their clusters.

import { channels, colourOf } from "../colours.js";

const [FAINTEST, DARKEST] = [16, 216]; // of 255
const CLIPPED = 0.995; // of the cells that are not empty are no denser than what is darkest
const GRIDS = [128, 64, 32, 16, 8, 4, 1]; // cells a side, in which the drawn points are looked for
const ENOUGH = 1.5; // drawn points about a cell, to know its colour

// How many points lie in each cell, as a picture: four times as dense is twice as dark.
//
// by: {positions, labels, hidden}: of the drawn points, from which a cell has its colour; or null.
export function densityPicture(density, colours, by = null) {
  const { width, height } = density;
  const counts = numbers(density.counts, width * height);
  const most = Math.sqrt(quantile(counts, CLIPPED));
  const picture = new OffscreenCanvas(width, height);
  const context = picture.getContext("2d");
  const image = context.createImageData(width, height);
  const plain = channels(colours.plain);
  const tintAt = by && tints(density.extent, by, colours);
  const tint = [0, 0, 0, 0];
  counts.forEach((count, at) => {
    if (!count) return;
    const [row, column] = [Math.floor(at / width), at % width];
    let shown = 1;
    if (tintAt) {
      tintAt((column + 0.5) / width, (row + 0.5) / height, tint);
      shown = tint[3];
    }
    const dark = FAINTEST + (DARKEST - FAINTEST) * Math.min(1, Math.sqrt(count) / most);
    const pixel = 4 * ((height - 1 - row) * width + column); // the first row of counts is the lowest
    for (let part = 0; part < 3; part++) image.data[pixel + part] = tintAt ? tint[part] : plain[part];
    image.data[pixel + 3] = dark * shown;
  });
  context.putImageData(image, 0, 0);
  return picture;
}

export function paintDensity(context, camera, picture, extent) {
  const [x0, x1, y0, y1] = extent;
  const [left, top] = camera.point(x0, y1);
  const [right, bottom] = camera.point(x1, y0);
  context.imageSmoothingEnabled = true;
  context.drawImage(picture, left, top, right - left, bottom - top);
}

function numbers(base64, count) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  if (bytes.length === count) return bytes;
  return bytes.length === 2 * count ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer);
}

function quantile(counts, share) {
  const filled = counts.filter((count) => count > 0).sort();
  return filled.length ? filled[Math.floor(share * (filled.length - 1))] : 1;
}

// (x, y in shares of the extent, into) → red, green, blue, and the share that is not hidden: the mean
// of the drawn points about the place, in the finest grid that has enough of them there.
function tints([x0, x1, y0, y1], { positions, labels, hidden }, colours) {
  const inks = new Map();
  const grids = GRIDS.map((side) => ({ side, sums: new Float32Array(5 * side * side) }));
  const finest = grids[0];
  for (let at = 0; at < labels.length; at++) {
    const label = labels[at] < 0 ? -1 : labels[at];
    if (!inks.has(label)) inks.set(label, hidden.has(label) ? null : channels(colourOf(label, colours)));
    const ink = inks.get(label);
    const { side, sums } = finest;
    const column = cell((positions[2 * at] - x0) / (x1 - x0), side);
    const row = cell((positions[2 * at + 1] - y0) / (y1 - y0), side);
    const to = 5 * (row * side + column);
    sums[to + 4] += 1;
    if (!ink) continue;
    sums[to + 3] += 1;
    for (let part = 0; part < 3; part++) sums[to + part] += ink[part];
  }
  for (const { side, sums } of grids.slice(1)) {
    const step = finest.side / side;
    for (let at = 0; at < finest.side ** 2; at++) {
      const from = 5 * at;
      if (!finest.sums[from + 4]) continue;
      const to = 5 * (Math.floor(Math.floor(at / finest.side) / step) * side + Math.floor((at % finest.side) / step));
      for (let part = 0; part < 5; part++) sums[to + part] += finest.sums[from + part];
    }
  }
  const found = new Float32Array(5);
  return (x, y, into) => {
    for (const grid of grids) {
      blend(grid, x, y, found);
      if (found[4] >= ENOUGH || grid.side === 1) break;
    }
    const [shown, all] = [found[3], found[4]];
    for (let part = 0; part < 3; part++) into[part] = shown ? found[part] / shown : 0;
    into[3] = all ? shown / all : 0;
  };
}

function cell(share, side) {
  return Math.max(0, Math.min(side - 1, Math.floor(share * side)));
}

// The sums between the middles of the four cells about a place.
function blend({ side, sums }, x, y, into) {
  into.fill(0);
  const [u, v] = [x * side - 0.5, y * side - 0.5];
  const [column, row] = [Math.floor(u), Math.floor(v)];
  for (let i = 0; i < 2; i++) {
    for (let j = 0; j < 2; j++) {
      const share = (i ? v - row : row + 1 - v) * (j ? u - column : column + 1 - u);
      if (share <= 0) continue;
      const from = 5 * (Math.max(0, Math.min(side - 1, row + i)) * side + Math.max(0, Math.min(side - 1, column + j)));
      for (let part = 0; part < 5; part++) into[part] += share * sums[from + part];
    }
  }
}
