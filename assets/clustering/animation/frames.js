// An animation's frames put together again: each has only what changed since the one before. And what the
// animations of all algorithms draw with.

const OWN = "agglomerative"; // whose labels begin as each point's own number

export class Frames {
  constructor(data) {
    this.data = data;
    this.list = data.frames;
    this.count = data.points.length;
    this.positions = Float64Array.from(data.points.flat());
    this.rewind();
  }

  rewind() {
    this.at = -1;
    this.labels = new Int32Array(this.count).fill(-1);
    if (this.data.algorithm === OWN) this.labels.forEach((_, at) => (this.labels[at] = at));
    this.kinds = new Int8Array(this.count);
    this.memberships = new Array(this.count).fill(null);
    this.merges = 0;
  }

  // Everything as it is at this frame. Backwards it begins anew, which takes about a millisecond.
  seek(frame) {
    if (frame < this.at) this.rewind();
    while (this.at < frame) {
      this.at += 1;
      const { labels, kinds, memberships, merges } = this.list[this.at];
      put(labels, this.labels);
      put(kinds, this.kinds);
      put(memberships, this.memberships);
      this.merges += merges?.length || 0;
    }
    return this.list[this.at];
  }
}

function put(changes, into) {
  if (!changes) return;
  const { at, to } = changes;
  for (let nth = 0; nth < at.length; nth++) into[at[nth]] = to[nth];
}

// --- drawing in the data's own units --------------------------------------------------------------

export function line(context, camera, from, to) {
  const [[ax, ay], [bx, by]] = [camera.point(...from), camera.point(...to)];
  context.moveTo(ax, ay);
  context.lineTo(bx, by);
}

// An ellipse [x, y, width, height, degrees]; on axes of unlike scales it stays an ellipse of the data.
export function ellipse(context, camera, [x, y, width, height, angle]) {
  const turn = (angle * Math.PI) / 180;
  const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
  context.beginPath();
  for (let part = 0; part < 72; part++) {
    const at = (part * Math.PI) / 36;
    const [u, v] = [(width / 2) * Math.cos(at), (height / 2) * Math.sin(at)];
    const [px, py] = camera.point(x + u * cos - v * sin, y + u * sin + v * cos);
    if (part) context.lineTo(px, py);
    else context.moveTo(px, py);
  }
  context.closePath();
}

// A centre: larger than any point, with a rim of the background.
export function centre(context, x, y, colour, colours, radius = 8) {
  const disc = (r, fill) => {
    context.beginPath();
    context.arc(x, y, r, 0, 2 * Math.PI);
    context.fillStyle = fill;
    context.fill();
  };
  disc(radius + 3.4, colours.text);
  disc(radius + 2, colours.background);
  disc(radius, colour);
  context.beginPath();
  for (const [dx, dy] of [[1, 0], [0, 1]]) {
    context.moveTo(x - dx * radius * 0.5, y - dy * radius * 0.5);
    context.lineTo(x + dx * radius * 0.5, y + dy * radius * 0.5);
  }
  context.strokeStyle = colours.background;
  context.lineWidth = 1.8;
  context.stroke();
}

export function between(from, to, share) {
  return from.map((value, at) => value + (to[at] - value) * share);
}

export function hullOf(places) {
  const sorted = [...places].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = (list) => {
    const side = [];
    for (const place of list) {
      while (side.length > 1) {
        const [a, b] = side.slice(-2);
        if ((b[0] - a[0]) * (place[1] - a[1]) - (b[1] - a[1]) * (place[0] - a[0]) > 0) break;
        side.pop();
      }
      side.push(place);
    }
    side.pop();
    return side;
  };
  return sorted.length < 3 ? sorted : [...half(sorted), ...half(sorted.reverse())];
}
