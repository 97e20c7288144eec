// Which mark each point of a picture that stands still has.

import { markOf } from "./colours.js";
import { HIDDEN } from "./marks.js";

export function look(labels, count, hidden, colours, radius, isSample) {
  const alpha = isSample ? 0.75 : 1;
  if (!labels) {
    return { kinds: [{ shape: "circle", fill: colours.plain, radius, alpha: isSample ? 0.5 : 0.8 }], marks: new Uint16Array(count) };
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
