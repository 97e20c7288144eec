// Which mark means what, and how many points have it; a click hides a cluster and shows it again.

import { h, say } from "../../page.js";
import { NOISE, markOf } from "../colours.js";
import { drawMark } from "./marks.js";
import { formatCount } from "../parts.js";

const MOST = 40; // entries
const [EDGE, LINE] = [12, 22]; // pixels beside those of a file, and of a line

// A mark as a small picture that keeps sharp.
export function swatch(mark) {
  const ratio = Math.max(2, window.devicePixelRatio || 1);
  const picture = h("canvas", { width: 16 * ratio, height: 16 * ratio, class: "swatch", "aria-hidden": "true" });
  const context = picture.getContext("2d");
  context.scale(ratio, ratio);
  drawMark(context, mark, 8, 8);
  return picture;
}

// classes: names of the true groups, where they have some.
export function nameOf(label, kind = "cluster", classes = null) {
  if (kind === "truth") return label < 0 ? say("No true label") : classes?.[label] ?? say("Group {number}", { number: label });
  return label === NOISE ? say("Noise") : say("Cluster {number}", { number: label });
}

// Rows of clusters. groups: [[label, how many]].
export function rowsOf(groups, { kind, classes }, colours) {
  return groups.map(([label, count]) => ({ label, mark: markOf(label, colours, 5), name: nameOf(label, kind, classes), count }));
}

// rows: [{label, mark, name, count}]; a click on one tells onhide(label), where it is given.
export function showLegend(holder, rows, hidden, onhide = null) {
  const entries = rows.slice(0, MOST).map(({ label, mark, name, count }) => {
    const parts = [swatch(mark), h("span", {}, name), count === undefined ? null : h("b", {}, formatCount(count))];
    if (!onhide) return h("span", { class: "entry still" }, parts);
    const title = say("Hide or show {name}", { name });
    return h("button", { type: "button", class: "entry", "data-label": label, "aria-pressed": String(!hidden.has(label)), title, onclick: () => onhide(label) }, parts);
  });
  const more = rows.length - MOST;
  if (more > 0) entries.push(h("span", { class: "more" }, say("and {count} smaller ones", { count: formatCount(more) })));
  holder.replaceChildren(...entries);
}

// The same without what is hidden, from 0, 0 on.
// → the height that it takes.
export function paintLegend(context, rows, hidden, width, colours) {
  context.font = `12px ${colours.font}`;
  context.textAlign = "left";
  let [x, y] = [EDGE, LINE / 2 + 4];
  for (const { label, mark, name, count } of rows.filter((row) => !hidden.has(row.label)).slice(0, MOST)) {
    const text = count === undefined ? name : `${name}  ${formatCount(count)}`;
    const needed = 14 + context.measureText(text).width;
    if (x > EDGE && x + needed > width - EDGE) [x, y] = [EDGE, y + LINE];
    drawMark(context, mark, x + 5, y);
    context.fillStyle = colours.text;
    context.fillText(text, x + 14, y + 4);
    x += needed + 16;
  }
  return rows.length ? y + LINE / 2 + 4 : 0;
}

// [[label, count]], largest first, noise last. Where the server tells sizes (of the first labels) and
// noise, they are those of all points, of which the labels here may be a sample.
export function sizesOf(labels, given = null, noise = null) {
  const sizes = new Map();
  for (const label of labels) sizes.set(label, (sizes.get(label) || 0) + 1);
  if (given) {
    given.forEach((count, label) => count && sizes.set(label, count));
    if (noise) sizes.set(-1, noise);
  }
  return [...sizes].sort((a, b) => (a[0] < 0) - (b[0] < 0) || b[1] - a[1] || a[0] - b[0]);
}
