// Which mark each point of a picture that stands still has.

import { markOf } from "../colours.js";
import { HIDDEN, radiusFor } from "./marks.js";

// A sample of many points lies over their density, which fine and sheer marks let through; closer by
// there are fewer of them, and they become plain points.
const [FINE, SHEER] = [0.6, 0.3];
const PLAIN_FROM = 8; // times closer
const BARE = 0.8; // of points without clusters

// {radius, alpha} of the marks of so many points.
export function sizeOf(count, zoom, isSample) {
  const radius = radiusFor(count, zoom);
  if (!isSample) return { radius, alpha: 1 };
  const near = Math.min(1, Math.max(0, Math.log(zoom) / Math.log(PLAIN_FROM)));
  const roundTo = (value, parts) => Math.round(parts * value) / parts;
  return { radius: roundTo(radius * (FINE + (1 - FINE) * near), 5), alpha: roundTo(SHEER + (1 - SHEER) * near, 10) };
}

export function look(labels, count, hidden, colours, { radius, alpha }) {
  if (!labels) {
    return { kinds: [{ shape: "circle", fill: colours.plain, radius, alpha: BARE * alpha }], marks: new Uint16Array(count) };
  }
  const [kinds, numbers] = [[], new Map()];
  const marks = new Uint16Array(count);
  for (let at = 0; at < count; at++) {
    const label = labels[at] < 0 ? -1 : labels[at];
    if (!numbers.has(label)) {
      const mark = markOf(label, colours, radius);
      numbers.set(label, hidden.has(label) ? HIDDEN : kinds.push({ ...mark, alpha: alpha * (mark.alpha ?? 1) }) - 1);
    }
    marks[at] = numbers.get(label);
  }
  return { kinds, marks };
}
