// The plot as a file: the points and all that is over them, and the chart beside them.

import { SHARP, save } from "./saving.js";
import { Vector } from "./vector.js";

export function savePlot(plot, format) {
  const { stage, camera, film } = plot;
  const side = film?.reel.chart ? [stage.side.clientWidth, stage.side.clientHeight] : [0, 0];
  const context = new Vector(camera.width + side[0], Math.max(camera.height, side[1]), plot.colours);
  const before = { hovered: plot.hovered, ratio: stage.ratio };
  plot.hovered = -1;
  stage.ratio = Math.max(SHARP, before.ratio);
  context.save();
  context.beginPath();
  context.rect(0, 0, camera.width, camera.height);
  context.clip();
  stage.paintGround(context);
  stage.paintOver(context);
  context.restore();
  plot.hovered = before.hovered;
  stage.ratio = before.ratio;
  if (film?.reel.chart) {
    context.save();
    context.translate(camera.width, 0);
    film.reel.chart(context, ...side, film.frame, plot.colours);
    context.restore();
  }
  return save(context.text(), `clusters.${format}`);
}
