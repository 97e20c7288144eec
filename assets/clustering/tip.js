// What is known of the point under the pointer.

import { h, say } from "../page.js";
import { nameOf } from "./legend.js";
import { counted, figures } from "./parts.js";

export class Tip {
  constructor(plot) {
    this.plot = plot;
    this.element = h("div", { class: "tip", hidden: true });
    plot.stage.frame.append(this.element);
  }

  show(at) {
    const { plot, element } = this;
    element.hidden = at < 0;
    if (at < 0) return;
    const [x, y] = [plot.stage.screen[2 * at], plot.stage.screen[2 * at + 1]];
    const { dims } = plot.camera;
    const place = [...plot.shown.subarray(at * dims, (at + 1) * dims)];
    const names = plot.stage.names();
    const row = plot.rows?.[at] ?? at;
    const lines = plot.film?.reel.about?.(at) ?? [];
    if (!plot.film && plot.labelling) lines.push([say("Cluster"), nameOf(plot.labelling.labels[at]).replace(/^\D+(?=\d)/, "")]);
    if (!plot.film && plot.points?.truth) lines.push([say("True group"), String(plot.points.truth[at])]);
    place.forEach((value, axis) => lines.push([names[axis] || "xyz"[axis], figures(value)]));
    element.replaceChildren(
      h("b", {}, say("Row {number}", { number: counted(row + 1) })),
      h("dl", {}, lines.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    );
    const [width, height] = [element.offsetWidth, element.offsetHeight];
    const left = x + 16 + width > plot.camera.width ? x - 16 - width : x + 16;
    const top = Math.min(Math.max(6, y - height / 2), plot.camera.height - height - 6);
    element.style.transform = `translate(${Math.max(4, left)}px, ${top}px)`;
  }
}
