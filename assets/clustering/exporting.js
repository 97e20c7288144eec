// The picture as a file: PNG as it is seen, SVG of the same marks and lines.

import { h } from "../page.js";
import { Vector } from "./vector.js";

export const SHARP = 2; // pixels of a PNG for each on the page, at least

export async function savePicture(plot) {
  const { stage, camera } = plot;
  const ratio = Math.max(SHARP, window.devicePixelRatio || 1);
  const side = plot.film?.reel.chart ? [stage.side.clientWidth, stage.side.clientHeight] : null;
  const sheet = new OffscreenCanvas((camera.width + (side?.[0] ?? 0)) * ratio, Math.max(camera.height, side?.[1] ?? 0) * ratio);
  const context = sheet.getContext("2d");
  context.fillStyle = plot.colours.paper;
  context.fillRect(0, 0, sheet.width, sheet.height);
  const before = stage.ratio;
  stage.ratio = ratio;
  context.scale(ratio, ratio);
  paint(plot, context, side);
  stage.ratio = before;
  give(await sheet.convertToBlob({ type: "image/png" }), "clusters.png");
}

export function saveVector(plot) {
  const { stage, camera } = plot;
  const side = plot.film?.reel.chart ? [stage.side.clientWidth, stage.side.clientHeight] : null;
  const context = new Vector(camera.width + (side?.[0] ?? 0), Math.max(camera.height, side?.[1] ?? 0), plot.colours);
  paint(plot, context, side);
  give(new Blob([context.text()], { type: "image/svg+xml" }), "clusters.svg");
}

function paint(plot, context, side) {
  const { stage, camera, film } = plot;
  context.save();
  context.beginPath();
  context.rect(0, 0, camera.width, camera.height);
  context.clip();
  stage.paintGround(context);
  const { hovered } = plot;
  plot.hovered = -1;
  stage.paintOver(context);
  plot.hovered = hovered;
  context.restore();
  if (!side) return;
  context.save();
  context.translate(camera.width, 0);
  film.reel.chart(context, ...side, film.frame, plot.colours);
  context.restore();
}

export function give(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
