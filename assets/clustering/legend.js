// Which mark means what, and how many points have it; a click hides a cluster and shows it again.

import { h, say } from "../page.js";
import { NOISE, markOf } from "./colours.js";
import { drawMark } from "./marks.js";
import { counted } from "./parts.js";

const CHIPS = 40;

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

// groups: [[label, how many]], onhide(label): called when a chip is clicked.
export function clusterLegend(holder, groups, hidden, { kind, classes }, colours, onhide) {
  const chips = groups.slice(0, CHIPS).map(([label, count]) => {
    const name = nameOf(label, kind, classes);
    const chip = h(
      "button",
      { type: "button", class: "chip", "data-label": label, "aria-pressed": String(!hidden.has(label)), title: say("Hide or show {name}", { name }) },
      swatch(markOf(label, colours, 5)),
      h("span", {}, name),
      h("b", {}, counted(count)),
    );
    chip.addEventListener("click", () => onhide(label));
    return chip;
  });
  const more = groups.length - CHIPS;
  if (more > 0) chips.push(h("span", { class: "more" }, say("and {count} smaller ones", { count: counted(more) })));
  holder.replaceChildren(...chips);
}

// rows: [{mark, name, count}], which cannot be clicked.
export function kindLegend(holder, rows) {
  holder.replaceChildren(
    ...rows.map(({ mark, name, count }) =>
      h("span", { class: "chip still" }, swatch(mark), h("span", {}, name), count === undefined ? null : h("b", {}, counted(count)))),
  );
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
