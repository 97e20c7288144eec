// The pictures of a gallery at their points: as many as fit without one hiding another, in the order
// of the rows, so that closer by others come in between.

import { HIDDEN } from "./marks.js";
import { colourOf } from "../colours.js";

const [SIDE, SMALL] = [64, 46]; // pixels of a picture; on a narrow plot
const NARROW = 500;
const GAP = 6;

export class Thumbs {
  // pictures: ids by row of the data set, null where one is gone; template: the address of one.
  constructor(plot, pictures, template) {
    this.plot = plot;
    this.pictures = pictures;
    this.template = template;
    this.loaded = new Map();
    this.seen = [];
  }

  paint(context) {
    const { camera, colours, look, rows, labels } = this.plot;
    const { screen } = this.plot.layers;
    this.seen = [];
    if (camera.dims !== 2 || !rows) return;
    const side = camera.width < NARROW ? SMALL : SIDE;
    const cells = new Map(); // of the size of a picture: what could hide one lies in it or beside it
    for (let at = 0; at < rows.length; at++) {
      if (look.marks[at] === HIDDEN || !this.pictures[rows[at]]) continue;
      const [x, y] = [screen[2 * at], screen[2 * at + 1]];
      if (!free(cells, x, y, side + GAP)) continue;
      if (x < -side || y < -side || x > camera.width + side || y > camera.height + side) continue;
      const picture = this.picture(this.pictures[rows[at]]);
      this.seen.push({ at, x, y, half: side / 2 });
      if (!picture.naturalWidth) continue;
      const scale = side / Math.max(picture.naturalWidth, picture.naturalHeight);
      const [width, height] = [picture.naturalWidth * scale, picture.naturalHeight * scale];
      context.fillStyle = labels ? colourOf(labels[at], colours) : colours.background;
      context.fillRect(x - width / 2 - 2.5, y - height / 2 - 2.5, width + 5, height + 5);
      context.drawImage(picture, x - width / 2, y - height / 2, width, height);
    }
  }

  // The picture of a point, or null.
  of(at) {
    const id = this.pictures[this.plot.rows?.[at]];
    return id ? this.picture(id) : null;
  }

  // Where the picture of a point lies, or null where it is a mere point.
  placeOf(at) {
    return this.seen.find((each) => each.at === at) ?? null;
  }

  picture(id) {
    if (!this.loaded.has(id)) {
      const picture = new Image();
      picture.onload = () => this.plot.layers.draw();
      picture.src = new URL(this.template.replace("{id}", encodeURIComponent(id)), document.baseURI).href;
      this.loaded.set(id, picture);
    }
    return this.loaded.get(id);
  }

  // The point whose picture lies at a pixel, or −1.
  under(x, y) {
    return this.seen.findLast((each) => Math.abs(each.x - x) <= each.half && Math.abs(each.y - y) <= each.half)?.at ?? -1;
  }

  open(at) {
    const id = at < 0 ? null : this.pictures[this.plot.rows?.[at]];
    if (id) window.open(new URL(`pictures/${encodeURIComponent(id)}.png`, document.baseURI).href, "_blank", "noopener");
  }
}

// Whether nothing has been put within `side` of (x, y), which is put there then.
function free(cells, x, y, side) {
  const [column, row] = [Math.floor(x / side), Math.floor(y / side)];
  for (let i = column - 1; i <= column + 1; i++) {
    for (let j = row - 1; j <= row + 1; j++) {
      const other = cells.get(`${i} ${j}`);
      if (other && Math.abs(other[0] - x) < side && Math.abs(other[1] - y) < side) return false;
    }
  }
  cells.set(`${column} ${row}`, [x, y]); // no second one fits into a cell
  return true;
}
