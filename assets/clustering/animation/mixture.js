// A Gaussian mixture as an animation: memberships are shared out (E), Gaussians fitted to them (M).

import { say } from "../../page.js";
import { channels, colourOf, edge, hexOf } from "../colours.js";
import { paintCurve } from "./frame_chart.js";
import { figures } from "../parts.js";
import { between, centre, ellipse } from "./frames.js";

export function mixture(frames) {
  const { list } = frames;
  const values = list.map((frame) => frame.log_likelihood);
  const named = list.flatMap((frame, at) => (frame.phase === "E" ? [[at, String(frame.round)]] : []));

  return {
    interval: 900,
    tweens: true,

    // Each point has the mean colour of its components, weighted by its memberships.
    look(colours, radius) {
      const [kinds, numbers] = [[], new Map()];
      const marks = new Uint16Array(frames.count);
      const inks = (list[frames.at]?.weights ?? []).map((_, component) => channels(colourOf(component, colours)));
      frames.memberships.forEach((shares, at) => {
        const key = shares ? shares.join() : "";
        if (!numbers.has(key)) {
          const total = shares?.reduce((sum, share) => sum + share, 0);
          const fill = total ? hexOf([0, 1, 2].map((channel) => shares.reduce((sum, share, component) => sum + share * inks[component][channel], 0) / total)) : colours.plain;
          numbers.set(key, kinds.push({ shape: "circle", fill, stroke: edge(fill, colours), width: 0.7, radius }) - 1);
        }
        marks[at] = numbers.get(key);
      });
      return { kinds, marks };
    },

    over(context, camera, at, share, colours) {
      const frame = list[at];
      const before = frame.phase === "M" && share < 1 ? list[at - 1] : null;
      (frame.ellipses || []).forEach((each, component) => {
        const colour = colourOf(component, colours);
        ellipse(context, camera, before ? turnEllipse(before.ellipses[component], each, share) : each);
        context.fillStyle = context.strokeStyle = colour;
        context.globalAlpha = 0.04 + 0.2 * frame.weights[component];
        context.fill();
        context.globalAlpha = 1;
        context.lineWidth = 2;
        context.stroke();
      });
      (frame.means || []).forEach((mean, component) => {
        const place = before ? between(before.means[component], mean, share) : mean;
        centre(context, ...camera.point(...place.slice(0, 2)), colourOf(component, colours), colours, 6);
      });
    },

    chart(context, width, height, at, colours) {
      paintCurve(context, width, height, { title: say("Mean log-likelihood"), values, frame: at, named, axis: say("round") }, colours);
    },

    about(point) {
      const shares = frames.memberships[point] ?? [];
      const whole = shares.reduce((sum, share) => sum + share, 0);
      return shares.flatMap((share, component) => (share ? [[say("Cluster {number}", { number: component }), `${Math.round((100 * share) / whole)} %`]] : []));
    },

    sentence(at) {
      const { phase, round, labels, log_likelihood, end } = list[at];
      const value = figures(log_likelihood);
      if (phase === "start") return say("Start: Gaussians around a first clustering. The log-likelihood is {value}.", { value });
      if (phase === "M") return say("Round {round}, M: every Gaussian is fitted to the points, each counting by its share. The log-likelihood is {value}.", { round, value });
      const said = say("Round {round}, E: every point is shared out among the Gaussians by how likely each has made it; {changed} now lean to another one.", { round, changed: labels.at.length });
      if (!end) return said;
      return `${said} ${end === "last round" ? say("This was the last round that was allowed.") : say("The log-likelihood hardly changes any more: this is the end.")}`;
    },
  };
}

// From one ellipse to the next: the shorter way round.
function turnEllipse(from, to, share) {
  const turn = ((((to[4] - from[4]) % 180) + 270) % 180) - 90;
  return [...between(from.slice(0, 4), to.slice(0, 4), share), from[4] + turn * share];
}
