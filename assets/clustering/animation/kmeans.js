// K-Means as an animation: points go to the nearest centre, centres move to the middle of their points.

import { say } from "../../page.js";
import { colourOf, markOf } from "../colours.js";
import { paintCurve } from "./frame_chart.js";
import { figures, formatCount } from "../parts.js";
import { between, centre, line } from "./frames.js";

const SPOKES = 700; // points up to which each is tied to its centre while it is assigned

export function kmeans(frames) {
  const { list, data } = frames;
  const trails = []; // all places of the centres up to each frame
  let trail = [];
  for (const frame of list) {
    if (frame.trail) trail = [...trail, ...frame.trail];
    trails.push(trail);
  }
  const values = list.map((frame) => frame.inertia);
  const named = list.flatMap((frame, at) => (frame.phase === "assign" ? [[at, String(frame.round)]] : []));

  return {
    interval: 1000,
    tweens: true,

    look(colours, radius) {
      const kinds = [{ shape: "circle", fill: colours.plain, radius: radius * 0.9, alpha: 0.7 }];
      const known = Math.max(0, ...frames.labels) + 1;
      for (let cluster = 0; cluster < known; cluster++) kinds.push(markOf(cluster, colours, radius));
      return { kinds, marks: Uint16Array.from(frames.labels, (label) => label + 1) };
    },

    over(context, camera, at, share, colours) {
      const frame = list[at];
      const places = trails[at].at(-1);
      if (!places) return; // a projection has no place for centres
      const from = frame.phase === "move" && share < 1 ? trails[at].at(-2) : null;
      const now = from ? places.map((place, cluster) => between(from[cluster], place, share)) : places;
      if (frame.phase === "assign" && frames.count <= SPOKES) spokes(context, camera, now, share);
      now.forEach((place, cluster) => {
        const colour = colourOf(cluster, colours);
        const path = [...trails[at].slice(0, from ? -1 : undefined).map((each) => each[cluster]), place];
        context.globalAlpha = 0.9;
        for (const [thick, ink] of [[4.5, colours.background], [2, colour]]) {
          context.beginPath();
          path.slice(1).forEach((to, nth) => line(context, camera, path[nth], to));
          context.strokeStyle = ink;
          context.lineWidth = thick;
          context.lineCap = "round";
          context.stroke();
        }
        context.globalAlpha = 1;
        for (const each of path.slice(0, -1)) dot(context, ...camera.point(...each), colour, colours);
      });
      now.forEach((place, cluster) => centre(context, ...camera.point(...place), colourOf(cluster, colours), colours));

      function spokes(context, camera, centres, share) {
        centres.forEach((place, cluster) => {
          context.beginPath();
          frames.labels.forEach((label, point) => {
            if (label === cluster) line(context, camera, place, frames.positions.subarray(2 * point, 2 * point + 2));
          });
          context.strokeStyle = colourOf(cluster, colours);
          context.globalAlpha = 0.15 * share;
          context.lineWidth = 1;
          context.stroke();
        });
        context.globalAlpha = 1;
        const changed = frame.round > 1 ? frame.labels.at : [];
        context.beginPath();
        for (const point of changed) {
          const [x, y] = camera.point(frames.positions[2 * point], frames.positions[2 * point + 1]);
          context.moveTo(x + 6.5, y);
          context.arc(x, y, 6.5, 0, 2 * Math.PI);
        }
        context.strokeStyle = colours.text;
        context.globalAlpha = 0.8;
        context.lineWidth = 1.2;
        context.stroke();
        context.globalAlpha = 1;
      }
    },

    chart(context, width, height, at, colours) {
      paintCurve(context, width, height, { title: say("J, sum of squared distances"), values, frame: at, named, axis: say("round") }, colours);
    },

    about: (point) => (frames.labels[point] < 0 ? [] : [[say("Cluster"), String(frames.labels[point])]]),

    sentence(at) {
      const { phase, round, labels, inertia, relocated, end } = list[at];
      const j = figures(inertia);
      if (phase === "start") return say("Start: {count} centres are chosen. No point belongs to one yet.", { count: trails[at].at(-1)?.length ?? data.parameters?.clusters ?? "" });
      if (phase === "move") {
        const moved = say("Round {round}, move: every centre goes to the mean of its points. J = {j}.", { round, j });
        return relocated.length ? `${moved} ${say("{count} centres had lost all their points and were put elsewhere.", { count: relocated.length })}` : moved;
      }
      const changed = labels.at.length;
      const said = round === 1
        ? say("Round 1, assign: every point takes the colour of its nearest centre. J = {j}.", { j })
        : say("Round {round}, assign: every point goes to its nearest centre; {changed} changed (ringed). J = {j}.", { round, changed: formatCount(changed), j });
      const ends = {
        "nothing moved": say("No point changes: this is the end."),
        "within tolerance": say("The centres hardly move any more: this is the end."),
        "last round": say("This was the last round that was allowed."),
      };
      return end ? `${said} ${ends[end]}` : said;
    },
  };
}

function dot(context, x, y, colour, colours) {
  context.beginPath();
  context.arc(x, y, 3.2, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.strokeStyle = colours.background;
  context.lineWidth = 1;
  context.stroke();
}
