// Marks of points: drawn one by one where there are few, stamped from ready-made ones where many.

const STAMPED_FROM = 3000; // points
export const HIDDEN = 65535; // in a list of marks: this point is not drawn

// One mark at (x, y). Mark: {shape, radius, fill?, stroke?, width?, alpha?}.
export function drawMark(context, mark, x, y) {
  const { shape, radius: r } = mark;
  context.beginPath();
  if (shape === "circle") context.arc(x, y, r, 0, 2 * Math.PI);
  else if (shape === "square") context.rect(x - r * 0.88, y - r * 0.88, r * 1.76, r * 1.76);
  else if (shape === "triangle") corners(context, x, y, [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]], r);
  else if (shape === "drop") corners(context, x, y, [[0, 1.2], [1.1, -0.8], [-1.1, -0.8]], r);
  else if (shape === "diamond") corners(context, x, y, [[0, -1.3], [1.1, 0], [0, 1.3], [-1.1, 0]], r);
  else if (shape === "plus") {
    const [a, b] = [0.42, 1.2];
    corners(context, x, y, [[-a, -b], [a, -b], [a, -a], [b, -a], [b, a], [a, a], [a, b], [-a, b], [-a, a], [-b, a], [-b, -a], [-a, -a]], r);
  } else { // a cross, of lines only
    context.moveTo(x - r, y - r);
    context.lineTo(x + r, y + r);
    context.moveTo(x + r, y - r);
    context.lineTo(x - r, y + r);
  }
  context.globalAlpha = mark.alpha ?? 1;
  if (mark.fill && shape !== "cross") {
    context.fillStyle = mark.fill;
    context.fill();
  }
  if (mark.stroke && mark.width) {
    context.strokeStyle = mark.stroke;
    context.lineWidth = mark.width;
    context.stroke();
  }
  context.globalAlpha = 1;
}

function corners(context, x, y, places, r) {
  places.forEach(([dx, dy], at) => (at ? context.lineTo(x + dx * r, y + dy * r) : context.moveTo(x + dx * r, y + dy * r)));
  context.closePath();
}

// All points: `screen` has x and y of each in CSS pixels, `marks` the number of each one's mark in
// `kinds`, `order` the order in which they are drawn (or null: as they come).
export function drawMarks(context, screen, marks, kinds, { width, height, order = null, ratio = 1 }) {
  const count = marks.length;
  const edge = 12;
  const isSeen = (x, y) => x > -edge && y > -edge && x < width + edge && y < height + edge;
  if (count < STAMPED_FROM) {
    for (let nth = 0; nth < count; nth++) {
      const at = order ? order[nth] : nth;
      if (marks[at] === HIDDEN) continue;
      const [x, y] = [screen[2 * at], screen[2 * at + 1]];
      if (isSeen(x, y)) drawMark(context, kinds[marks[at]], x, y);
    }
    return;
  }
  const sheet = sheetOf(Math.round(width * ratio), Math.round(height * ratio));
  const stamps = kinds.map((kind) => stamp(kind, ratio));
  for (let nth = 0; nth < count; nth++) {
    const at = order ? order[nth] : nth;
    if (marks[at] === HIDDEN) continue;
    const [x, y] = [screen[2 * at], screen[2 * at + 1]];
    if (isSeen(x, y)) press(sheet, stamps[marks[at]], Math.round(x * ratio), Math.round(y * ratio));
  }
  sheet.context.putImageData(sheet.image, 0, 0);
  context.drawImage(sheet.canvas, 0, 0, width, height);
}

// --- stamps -------------------------------------------------------------------------------------

// The pixels of a mark that are not empty, at (dx, dy) from its middle. To lay them down here takes a
// tenth of what drawing 20,000 small pictures takes on a machine without a graphics card.
function stamp(kind, ratio) {
  const key = JSON.stringify([kind, ratio]);
  if (!made.has(key)) {
    if (made.size > 400) made.clear();
    const half = Math.ceil((kind.radius * 1.35 + (kind.width || 0)) * ratio) + 1;
    const side = 2 * half + 1;
    const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
    context.scale(ratio, ratio);
    drawMark(context, kind, (half + 0.5) / ratio, (half + 0.5) / ratio);
    const { data } = context.getImageData(0, 0, side, side);
    const whole = new Uint32Array(data.buffer);
    const filled = [...whole.keys()].filter((at) => data[4 * at + 3] > 8);
    made.set(key, {
      half,
      dx: Int32Array.from(filled, (at) => (at % side) - half),
      dy: Int32Array.from(filled, (at) => Math.floor(at / side) - half),
      colour: Uint32Array.from(filled, (at) => whole[at]),
      alpha: Float32Array.from(filled, (at) => data[4 * at + 3] / 255),
    });
  }
  return made.get(key);
}

const made = new Map();
let last = null;

function sheetOf(width, height) {
  if (last?.canvas.width !== width || last?.canvas.height !== height) {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const image = context.createImageData(width, height);
    last = { canvas, context, image, bytes: image.data, whole: new Uint32Array(image.data.buffer), width, height };
  }
  last.whole.fill(0);
  return last;
}

function press({ bytes, whole, width, height }, { half, dx, dy, colour, alpha }, x, y) {
  const within = x >= half && y >= half && x + half < width && y + half < height;
  for (let nth = 0; nth < dx.length; nth++) {
    const [px, py] = [x + dx[nth], y + dy[nth]];
    if (!within && (px < 0 || py < 0 || px >= width || py >= height)) continue;
    const at = py * width + px;
    const over = alpha[nth];
    if (over === 1 || whole[at] === 0) {
      whole[at] = colour[nth];
      continue;
    }
    const from = 4 * at;
    const under = (bytes[from + 3] / 255) * (1 - over);
    const both = over + under;
    const [a, b] = [over / both, under / both];
    const ink = colour[nth];
    bytes[from] = (ink & 255) * a + bytes[from] * b;
    bytes[from + 1] = ((ink >>> 8) & 255) * a + bytes[from + 1] * b;
    bytes[from + 2] = ((ink >>> 16) & 255) * a + bytes[from + 2] * b;
    bytes[from + 3] = 255 * both;
  }
}

// The size of a point's mark among so many.
export function radiusFor(count, zoom = 1) {
  const fitting = Math.max(1.8, Math.min(4.6, 6.3 - Math.log10(Math.max(count, 1))));
  return Math.round(5 * fitting * Math.min(2, Math.max(1, zoom ** 0.3))) / 5;
}
