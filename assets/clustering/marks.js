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
  const seen = (x, y) => x > -edge && y > -edge && x < width + edge && y < height + edge;
  if (count < STAMPED_FROM || context.isVector) {
    for (let nth = 0; nth < count; nth++) {
      const at = order ? order[nth] : nth;
      if (marks[at] === HIDDEN) continue;
      const [x, y] = [screen[2 * at], screen[2 * at + 1]];
      if (seen(x, y)) drawMark(context, kinds[marks[at]], x, y);
    }
    return;
  }
  const stamps = kinds.map((kind) => stamp(kind, ratio));
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0); // whole device pixels: a stamp stays sharp, and is faster
  for (let nth = 0; nth < count; nth++) {
    const at = order ? order[nth] : nth;
    if (marks[at] === HIDDEN) continue;
    const [x, y] = [screen[2 * at], screen[2 * at + 1]];
    if (!seen(x, y)) continue;
    const { picture, half } = stamps[marks[at]];
    context.drawImage(picture, Math.round(x * ratio) - half, Math.round(y * ratio) - half);
  }
  context.restore();
}

const made = new Map();

function stamp(kind, ratio) {
  const key = JSON.stringify([kind, ratio]);
  if (!made.has(key)) {
    if (made.size > 400) made.clear();
    const half = Math.ceil((kind.radius * 1.35 + (kind.width || 0)) * ratio) + 1;
    const picture = new OffscreenCanvas(2 * half + 1, 2 * half + 1);
    const context = picture.getContext("2d");
    context.scale(ratio, ratio);
    drawMark(context, kind, (half + 0.5) / ratio, (half + 0.5) / ratio);
    made.set(key, { picture, half });
  }
  return made.get(key);
}

// The size of a point's mark among so many.
export function radiusFor(count, zoom = 1) {
  const fitting = Math.max(1.8, Math.min(4.6, 6.3 - Math.log10(Math.max(count, 1))));
  return fitting * Math.min(2, Math.max(1, zoom ** 0.3));
}
