// What is known of the point under the pointer.

import { h, say } from "../../page.js";
import { row } from "../data.js";
import { nameOf } from "./legend.js";
import { formatCount, figures } from "../parts.js";

const BESIDE = 16; // pixels from what is told about
const RESTING = 120; // ms on a point until its columns are asked for
const COLUMNS = 8; // that are told
const PREVIEW = 160; // pixels of a picture's longer side

export class Tip {
  constructor(plot) {
    this.plot = plot;
    this.element = h("div", { class: "tip", hidden: true });
    plot.layers.frame.append(this.element);
  }

  show(at) {
    const { plot, element } = this;
    element.hidden = at < 0;
    clearTimeout(this.asking);
    this.at = at;
    if (at < 0) return;
    const { dims } = plot.camera;
    const place = [...plot.shown.subarray(at * dims, (at + 1) * dims)];
    const names = plot.layers.names();
    const own = plot.rows?.[at] ?? at;
    const lines = plot.animation?.view.about?.(at) ?? [];
    if (!plot.animation && plot.labelling) lines.push([say("Cluster"), nameOf(plot.labelling.labels[at]).replace(/^\D+(?=\d)/, "")]);
    const group = plot.animation ? undefined : plot.points?.truth?.[at];
    const { classes } = plot.points?.header ?? {};
    if (group !== undefined) lines.push([say("True group"), classes || group < 0 ? nameOf(group, "truth", classes) : String(group)]);
    const picture = plot.animation ? null : plot.thumbs?.of(at);
    if (picture) {
      this.tell(say("Picture {number}", { number: formatCount(own + 1) }), lines, picture);
      return;
    }
    const name = say("Row {number}", { number: formatCount(own + 1) });
    const about = lines.length;
    place.forEach((value, axis) => lines.push([names[axis] || "xyz"[axis], figures(value)]));
    this.tell(name, lines);
    const { header } = plot.points ?? {};
    const isOther = header?.columns && (header.columns.length > header.dims || plot.scene.scaling !== "none");
    if (!isOther || plot.scene.thumbs || plot.scene.mode === "draw") return;
    // In the picture are projected or scaled places: what the columns themselves say is asked for.
    this.asking = setTimeout(async () => {
      const found = await row(plot.scene.data, own).catch(() => null);
      if (this.at !== at || !found?.columns.length) return;
      const told = found.columns.slice(0, COLUMNS).map((name, column) => [name, figures(found.values[column])]);
      if (header.columns.length > told.length) told.push(["…", ""]);
      this.tell(name, [...lines.slice(0, about), ...told]);
    }, RESTING);
  }

  // picture: of a gallery's point, shown larger than on the map; or null.
  tell(name, lines, picture = null) {
    const { element } = this;
    element.replaceChildren(
      ...(picture ? [larger(picture)] : []),
      h("b", {}, name),
      h("dl", {}, lines.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    );
    this.size = [element.offsetWidth, element.offsetHeight];
    this.follow();
  }

  // To where its point is by now: the wheel moves the picture under it.
  follow() {
    const { plot, at } = this;
    if (this.element.hidden) return;
    const [x, y] = [plot.layers.screen[2 * at], plot.layers.screen[2 * at + 1]];
    const isSeen = x >= 0 && y >= 0 && x <= plot.camera.width && y <= plot.camera.height;
    if (isSeen) this.place(x, y);
    else plot.hover(null);
  }

  place(x, y) {
    const { plot, element, size: [width, height] } = this;
    const gap = BESIDE + (plot.animation ? 0 : plot.thumbs?.placeOf(this.at)?.half ?? 0);
    const left = x + gap + width > plot.camera.width ? x - gap - width : x + gap;
    const top = Math.min(Math.max(6, y - height / 2), plot.camera.height - height - 6);
    element.style.transform = `translate(${Math.max(4, left)}px, ${top}px)`;
  }
}

function larger(picture) {
  const [width, height] = [picture.naturalWidth || 1, picture.naturalHeight || 1];
  const scale = PREVIEW / Math.max(width, height);
  return h("img", { src: picture.src, alt: "", width: Math.round(width * scale), height: Math.round(height * scale) });
}
