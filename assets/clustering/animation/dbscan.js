// DBSCAN as an animation: the disc of eps around the visited point, and what is known of all others.

import { say } from "../../page.js";
import { colourOf, edge, mix } from "../colours.js";
import { paintBands } from "./frame_chart.js";
import { formatCount } from "../parts.js";
import { ellipse, line } from "./frames.js";

const [UNSEEN, NOISE, REACHED, BORDER, CORE] = [0, 1, 2, 3, 4];

export function dbscan(frames) {
  const { list, data } = frames;
  const least = data.parameters?.min_samples;
  const names = [[CORE, say("Core")], [BORDER, say("Border")], [REACHED, say("Waiting")], [NOISE, say("Noise")], [UNSEEN, say("Not yet seen")]];
  const counts = countsOf(frames);
  const sizes = sizesOf(frames);

  function markFor(kind, cluster, colours, radius) {
    const colour = colourOf(cluster, colours);
    if (kind === UNSEEN) return { shape: "circle", stroke: colours.faint, width: 1.2, radius: radius * 0.85 };
    if (kind === NOISE) return { shape: "cross", stroke: colours.subdued, width: 1.4, radius: radius * 0.85 };
    if (kind === REACHED) return { shape: "circle", fill: mix(colours.background, colour, 0.35), stroke: colour, width: 1, radius };
    if (kind === BORDER) return { shape: "circle", fill: colours.background, stroke: colour, width: 2, radius };
    return { shape: "circle", fill: colour, stroke: edge(colour, colours), width: 0.8, radius: radius * 1.05 };
  }

  return {
    interval: Math.max(120, Math.min(600, 36_000 / list.length)),

    look(colours, radius) {
      const [kinds, numbers] = [[], new Map()];
      const marks = new Uint16Array(frames.count);
      frames.kinds.forEach((kind, at) => {
        const key = `${kind} ${kind >= REACHED ? frames.labels[at] : ""}`;
        if (!numbers.has(key)) numbers.set(key, kinds.push(markFor(kind, frames.labels[at], colours, radius)) - 1);
        marks[at] = numbers.get(key);
      });
      return { kinds, marks };
    },

    under(context, camera, at, colours) {
      const { visited, cluster } = list[at];
      if (visited < 0) return;
      const [x, y] = frames.positions.subarray(2 * visited, 2 * visited + 2);
      const colour = cluster < 0 ? colours.subdued : colourOf(cluster, colours);
      if (data.radius) {
        ellipse(context, camera, [x, y, 2 * data.radius[0], 2 * data.radius[1], 0]);
        context.fillStyle = colour;
        context.globalAlpha = 0.14;
        context.fill();
        context.globalAlpha = 1;
        context.strokeStyle = colour;
        context.lineWidth = 1.6;
        context.stroke();
      }
    },

    over(context, camera, at, share, colours) {
      const { visited, neighbours, cluster } = list[at];
      if (visited < 0) return;
      const here = frames.positions.subarray(2 * visited, 2 * visited + 2);
      const colour = cluster < 0 ? colours.subdued : colourOf(cluster, colours);
      context.beginPath();
      for (const other of neighbours) if (other !== visited) line(context, camera, here, frames.positions.subarray(2 * other, 2 * other + 2));
      context.strokeStyle = colour;
      context.globalAlpha = 0.5;
      context.lineWidth = 1;
      context.stroke();
      context.globalAlpha = 1;
      const [x, y] = camera.point(...here);
      for (const [radius, ink, thick] of [[9, colours.background, 4.5], [9, colours.text, 2]]) {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.strokeStyle = ink;
        context.lineWidth = thick;
        context.stroke();
      }
    },

    chart(context, width, height, at, colours) {
      const clusters = sizes.map((values, cluster) => ({ values, fill: colourOf(cluster, colours) }));
      const bands = [...clusters, { values: counts.map((each) => each[NOISE]), fill: colours.faint }];
      const reached = frames.count - counts[at][UNSEEN];
      const said = say("{count} of {points}", { count: formatCount(reached), points: formatCount(frames.count) });
      paintBands(context, width, height, { title: say("Points in clusters"), said, bands, whole: frames.count, frame: at, axis: say("visited points") }, colours);
    },

    legend(at, colours) {
      const { cluster } = list[at];
      return names.map(([kind, name]) => ({ mark: markFor(kind, Math.max(0, cluster), colours, 5), name, count: counts[at][kind] }));
    },

    about(point) {
      const name = names.find(([kind]) => kind === frames.kinds[point])[1];
      return [...(frames.labels[point] < 0 ? [] : [[say("Cluster"), String(frames.labels[point])]]), [say("Kind"), name]];
    },

    sentence(at) {
      const { visited, neighbours, cluster, waiting } = list[at];
      if (visited < 0) return say("Start: no point has been visited. A point is core if at least {least} points lie within eps of it, itself included.", { least });
      const [found, kind] = [neighbours.length, frames.kinds[visited]];
      const values = { point: formatCount((data.rows?.[visited] ?? visited) + 1), found, least, cluster, waiting: formatCount(waiting) };
      let said;
      if (kind === NOISE) said = say("Point {point} has {found} of {least} points within eps: not core, and no cluster has reached it. Noise for now.", values);
      else if (kind === BORDER) said = say("Point {point} has {found} of {least} points within eps: not core. It stays in cluster {cluster} as a border point, from which nothing grows.", values);
      else said = say("Point {point} has {found} points within eps, {least} are enough: core. What lies in the disc and was in no cluster joins cluster {cluster}.", values);
      if (at === list.length - 1) {
        const last = counts[at];
        return `${said} ${say("All points have been visited: {clusters} clusters, {noise} points of noise.", { clusters: Math.max(-1, ...frames.labels) + 1, noise: formatCount(last[NOISE]) })}`;
      }
      if (kind === NOISE) return said;
      return `${said} ${waiting ? say("{waiting} points wait to be visited.", values) : say("Nothing waits: cluster {cluster} is complete.", values)}`;
    },
  };
}

// How many points of each kind there are at each frame.
function countsOf(frames) {
  const kinds = new Int8Array(frames.count);
  const now = [frames.count, 0, 0, 0, 0];
  return frames.list.map(({ kinds: { at, to } }) => {
    at.forEach((point, nth) => {
      now[kinds[point]] -= 1;
      now[to[nth]] += 1;
      kinds[point] = to[nth];
    });
    return [...now];
  });
}

// How many points each cluster has at each frame.
function sizesOf({ list, count }) {
  const labels = new Int32Array(count).fill(-1);
  const sizes = [];
  list.forEach(({ labels: { at, to } }, frame) => {
    at.forEach((point, nth) => {
      const [before, now] = [labels[point], to[nth]];
      if (before >= 0) sizes[before][frame] -= 1;
      if (now >= 0) (sizes[now] ||= new Int32Array(list.length))[frame] += 1;
      labels[point] = now;
    });
  });
  for (const each of sizes) each.forEach((_, frame) => (each[frame] += frame ? each[frame - 1] : 0));
  return sizes;
}
