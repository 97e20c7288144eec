// From places in the data to pixels: a plane that is moved and scaled, or a space that is turned.

const MARGIN = 0.07; // of the smaller side stays free around the data
const MOST_UNLIKE = 8; // sides of the data that differ by more are scaled each for itself
const [LEAST_ZOOM, MOST_ZOOM] = [0.4, 4000];

// [x0, x1, y0, y1, …] around all positions, (m, dims).
export function extentOf(positions, dims) {
  const box = [];
  for (let axis = 0; axis < dims; axis++) {
    let [low, high] = [Infinity, -Infinity];
    for (let at = axis; at < positions.length; at += dims) {
      if (positions[at] < low) low = positions[at];
      if (positions[at] > high) high = positions[at];
    }
    if (!(low <= high)) [low, high] = [-1, 1];
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    box.push(low, high);
  }
  return box;
}

export class Plane {
  dims = 2;
  zoom = 1;

  constructor(box = [-1.1, 1.1, -1.1, 1.1], width = 100, height = 100) {
    this.width = width;
    this.height = height;
    this.box = box;
    this.home();
  }

  home() {
    const [x0, x1, y0, y1] = this.box;
    this.zoom = 1;
    this.centre = [(x0 + x1) / 2, (y0 + y1) / 2];
  }

  // Pixels for a unit of each axis.
  get scale() {
    const [x0, x1, y0, y1] = this.box;
    const free = MARGIN * Math.min(this.width, this.height) + 6;
    let sx = Math.max(10, this.width - 2 * free) / (x1 - x0);
    let sy = Math.max(10, this.height - 2 * free) / (y1 - y0);
    const unlike = (x1 - x0) / (y1 - y0);
    if (unlike < MOST_UNLIKE && unlike > 1 / MOST_UNLIKE) sx = sy = Math.min(sx, sy); // a circle is one
    return [sx * this.zoom, sy * this.zoom];
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
  }

  point(x, y) {
    const [sx, sy] = this.scale;
    return [this.width / 2 + (x - this.centre[0]) * sx, this.height / 2 - (y - this.centre[1]) * sy];
  }

  back(px, py) {
    const [sx, sy] = this.scale;
    return [this.centre[0] + (px - this.width / 2) / sx, this.centre[1] - (py - this.height / 2) / sy];
  }

  place(positions, screen) {
    const [sx, sy] = this.scale;
    const [left, top] = [this.width / 2 - this.centre[0] * sx, this.height / 2 + this.centre[1] * sy];
    for (let at = 0; at < positions.length; at += 2) {
      screen[at] = left + positions[at] * sx;
      screen[at + 1] = top - positions[at + 1] * sy;
    }
    return null; // no order: all lie in the plane
  }

  zoomAt(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.back(px, py);
    this.zoom = Math.min(MOST_ZOOM, Math.max(LEAST_ZOOM, this.zoom * factor));
    const [nx, ny] = this.back(px, py);
    this.centre = [this.centre[0] + x - nx, this.centre[1] + y - ny];
  }

  drag(dx, dy) {
    const [sx, sy] = this.scale;
    this.centre = [this.centre[0] - dx / sx, this.centre[1] + dy / sy];
  }

  get moved() {
    const [x0, x1, y0, y1] = this.box;
    return this.zoom !== 1 || this.centre[0] !== (x0 + x1) / 2 || this.centre[1] !== (y0 + y1) / 2;
  }
}

export class Space {
  dims = 3;
  zoom = 1;

  constructor(box = [-1, 1, -1, 1, -1, 1], width = 100, height = 100) {
    this.width = width;
    this.height = height;
    this.box = box;
    this.home();
  }

  home() {
    this.zoom = 1;
    this.yaw = -0.6;
    this.pitch = 0.42;
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
  }

  // Rows: where x, y and z of a unit cube go on the screen and into its depth; each with its offset.
  get matrix() {
    const { box } = this;
    const sides = [0, 1, 2].map((axis) => box[2 * axis + 1] - box[2 * axis]);
    const most = Math.max(...sides);
    const alike = most / Math.min(...sides) < MOST_UNLIKE;
    const units = sides.map((side) => 2 / (alike ? most : side));
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    const scale = (Math.min(this.width, this.height) / 2 / 1.62) * this.zoom;
    // z of the data points up.
    const turned = [[cy, sy, 0], [-sy * sp, cy * sp, cp], [-sy * cp, cy * cp, -sp]];
    return turned.map((row, at) => {
      const factors = row.map((value, axis) => value * units[axis] * (at === 2 ? 1 : scale) * (at === 1 ? -1 : 1));
      const middle = factors.reduce((sum, value, axis) => sum + (value * (box[2 * axis] + box[2 * axis + 1])) / 2, 0);
      return [...factors, (at === 0 ? this.width / 2 : at === 1 ? this.height / 2 : 0) - middle];
    });
  }

  point(x, y, z) {
    return this.matrix.map(([a, b, c, d]) => a * x + b * y + c * z + d);
  }

  // Screen places, and the order from the farthest to the nearest.
  place(positions, screen) {
    const [[xa, xb, xc, xd], [ya, yb, yc, yd], [za, zb, zc, zd]] = this.matrix;
    const count = positions.length / 3;
    const depth = new Float32Array(count);
    for (let at = 0, from = 0; at < count; at++, from += 3) {
      const [x, y, z] = [positions[from], positions[from + 1], positions[from + 2]];
      screen[2 * at] = xa * x + xb * y + xc * z + xd;
      screen[2 * at + 1] = ya * x + yb * y + yc * z + yd;
      depth[at] = za * x + zb * y + zc * z + zd;
    }
    this.depth = depth;
    return farthestFirst(depth);
  }

  zoomAt(factor) {
    this.zoom = Math.min(60, Math.max(LEAST_ZOOM, this.zoom * factor));
  }

  drag(dx, dy) {
    this.yaw += dx / 160;
    this.pitch = Math.max(-1.5, Math.min(1.5, this.pitch + dy / 160));
  }

  get moved() {
    return this.zoom !== 1 || this.yaw !== -0.6 || this.pitch !== 0.42;
  }
}

// By counting into slices, which takes a fraction of what sorting does.
function farthestFirst(depth) {
  const SLICES = 1024;
  let [low, high] = [Infinity, -Infinity];
  for (const value of depth) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const factor = (SLICES - 1) / (high - low || 1);
  const starts = new Uint32Array(SLICES + 1);
  const slices = new Uint16Array(depth.length);
  for (let at = 0; at < depth.length; at++) {
    slices[at] = (high - depth[at]) * factor;
    starts[slices[at] + 1] += 1;
  }
  for (let slice = 0; slice < SLICES; slice++) starts[slice + 1] += starts[slice];
  const order = new Uint32Array(depth.length);
  for (let at = 0; at < depth.length; at++) order[starts[slices[at]]++] = at;
  return order;
}
