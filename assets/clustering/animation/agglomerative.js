// Agglomerative clustering as an animation: the two nearest clusters become one, and the tree grows.

import { say } from "../../page.js";
import { ticks, short } from "../plot/axes.js";
import { colourOf, edge } from "../colours.js";
import { drawTitle } from "./frame_chart.js";
import { formatCount, figures } from "../parts.js";
import { hullOf, line } from "./frames.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [46, 12, 40, 14];
const SHOWN_LINKS = 400; // points up to which all merges are drawn among them

export function agglomerative(frames) {
  const { list, data, count } = frames;
  const tree = plantTree(list.flatMap((frame) => frame.merges), frames.positions, count);
  const { merges } = tree;
  const { clusters: wanted, height } = data.parameters || {};
  const clusters = height ? count - merges.filter((merge) => merge[2] <= height).length : Math.min(count, Math.max(1, wanted ?? 3));
  const cut = count - clusters; // merges that are made below the line
  const cutHeight = height || (cut ? (merges[cut - 1][2] + (merges[cut]?.[2] ?? merges[cut - 1][2] * 1.1)) / 2 : 0);
  const family = familiesOf(merges, count, cut); // of every node, the cluster that it ends in; −1 above the line
  const most = merges.length ? Math.max(...merges.map((merge) => merge[2])) : 1;

  return {
    interval: Math.max(130, Math.min(700, 36_000 / list.length)),
    unordered: true, // a click on the chart leads nowhere

    look(colours, radius) {
      const sizes = new Map();
      for (const label of frames.labels) sizes.set(label, (sizes.get(label) || 0) + 1);
      const [kinds, numbers] = [[], new Map()];
      const marks = new Uint16Array(count);
      frames.labels.forEach((label, at) => {
        const alone = sizes.get(label) === 1;
        const key = alone ? -1 : family[label];
        if (!numbers.has(key)) {
          const fill = colourOf(Math.max(0, key), colours);
          numbers.set(key, kinds.push(alone
            ? { shape: "circle", stroke: colours.faint, width: 1.2, radius: radius * 0.85 }
            : { shape: "circle", fill, stroke: edge(fill, colours), width: 0.8, radius }) - 1);
        }
        marks[at] = numbers.get(key);
      });
      return { kinds, marks };
    },

    over(context, camera, at, share, colours) {
      const made = list[at].number;
      if (count <= SHOWN_LINKS) {
        for (const [above, from, to] of [[false, 0, Math.min(made, cut)], [true, cut, made]]) {
          context.beginPath();
          for (let merge = from; merge < to; merge++) line(context, camera, tree.place(merges[merge][0]), tree.place(merges[merge][1]));
          context.strokeStyle = above ? colours.text : colours.subdued;
          context.globalAlpha = above ? 0.8 : 0.45;
          context.lineWidth = above ? 1.6 : 1;
          context.setLineDash(above ? [5, 4] : []);
          context.stroke();
          context.setLineDash([]);
        }
        context.globalAlpha = 1;
      }
      if (!made) return;
      const [left, right] = merges[made - 1];
      for (const node of [left, right]) {
        const hull = hullOf(tree.members(node).map((point) => camera.point(frames.positions[2 * point], frames.positions[2 * point + 1])));
        const colour = family[node] < 0 ? colours.text : colourOf(family[node], colours);
        padHull(context, hull);
        context.strokeStyle = context.fillStyle = colour;
        context.lineJoin = context.lineCap = "round";
        context.globalAlpha = 0.22;
        context.lineWidth = 18;
        context.stroke();
        if (hull.length > 2) context.fill();
        context.globalAlpha = 1;
      }
      context.beginPath();
      line(context, camera, tree.place(left), tree.place(right));
      context.strokeStyle = colours.text;
      context.lineWidth = 2.2;
      context.stroke();
    },

    chart(context, width, height, at, colours) {
      const made = list[at].number;
      const ends = made ? merges[made - 1][2] : 0;
      drawTitle(context, colours, say("Dendrogram"), made ? say("merged at {height}", { height: figures(ends) }) : "");
      const [w, h] = [width - LEFT - RIGHT, height - TOP - BOTTOM];
      const x = (node) => LEFT + (w * (tree.across[node] + 0.5)) / count;
      // The scale grows with the tree: else nothing would be seen of the many early merges.
      const top = Math.min(most * 1.04, Math.max(ends * 1.7, most / 50)) || 1;
      const y = (value) => TOP + h - (h * value) / top;
      context.font = `11px ${colours.font}`;
      const { step, values } = ticks(0, top, Math.max(2, height / 60));
      for (const value of values) {
        context.beginPath();
        context.moveTo(LEFT, Math.round(y(value)) + 0.5);
        context.lineTo(width - RIGHT, Math.round(y(value)) + 0.5);
        context.strokeStyle = colours.line;
        context.lineWidth = 1;
        context.stroke();
        context.textAlign = "right";
        context.fillStyle = colours.subdued;
        context.fillText(short(value, step), LEFT - 7, y(value) + 4);
      }
      const batches = new Map(); // one line a colour: thousands of brackets stay quick
      for (let merge = 0; merge < made; merge++) {
        const key = family[count + merge];
        if (!batches.has(key)) batches.set(key, []);
        batches.get(key).push(merge);
      }
      context.lineJoin = "miter";
      for (const [key, list] of batches) {
        context.beginPath();
        for (const merge of list) bracket(merge);
        context.strokeStyle = key < 0 ? colours.text : colourOf(key, colours);
        context.lineWidth = count > 300 ? 1 : 1.5;
        context.stroke();
      }
      if (made) {
        context.beginPath();
        bracket(made - 1);
        context.strokeStyle = colours.accent;
        context.lineWidth = 2.6;
        context.stroke();
      }
      if (clusters > 1 && cutHeight < top) {
        context.beginPath();
        context.moveTo(LEFT, y(cutHeight));
        context.lineTo(width - RIGHT, y(cutHeight));
        context.setLineDash([5, 4]);
        context.strokeStyle = colours.subdued;
        context.lineWidth = 1.4;
        context.stroke();
        context.setLineDash([]);
        context.textAlign = "right";
        context.fillStyle = colours.text;
        context.fillText(say("{count} clusters", { count: formatCount(clusters) }), width - RIGHT, y(cutHeight) - 5);
      }

      function bracket(merge) {
        const [left, right, top] = merges[merge];
        const foot = (node) => (node < count ? 0 : merges[node - count][2]);
        context.moveTo(x(left), y(foot(left)));
        context.lineTo(x(left), y(top));
        context.lineTo(x(right), y(top));
        context.lineTo(x(right), y(foot(right)));
      }
    },

    sentence(at) {
      const { number, clusters: now } = list[at];
      if (!number) return say("Start: every one of the {count} points is a cluster of its own.", { count: formatCount(count) });
      const [left, right, top, size] = merges[number - 1];
      const sizes = [left, right].map((node) => (node < count ? 1 : merges[node - count][3]));
      const values = { a: formatCount(sizes[0]), b: formatCount(sizes[1]), size: formatCount(size), height: figures(top), now: formatCount(now) };
      const said = say("The two nearest clusters, of {a} and {b} points, become one of {size} at distance {height}. Clusters left: {now}.", values);
      if (now === clusters) return `${said} ${say("So many were asked for: the line cuts the tree here.")}`;
      if (at === list.length - 1) return `${said} ${say("All points are in one cluster; where the tree is cut decides how many there are.")}`;
      return said;
    },
  };
}

// The whole tree: where its leaves stand side by side, the points and the middle of every node.
function plantTree(merges, positions, count) {
  const total = count + merges.length;
  const across = new Float64Array(total);
  const roots = new Set(Array.from({ length: total }, (_, node) => node));
  for (const [left, right] of merges) {
    roots.delete(left);
    roots.delete(right);
  }
  const leaves = [];
  const stack = [...roots].reverse();
  while (stack.length) {
    const node = stack.pop();
    if (node < count) leaves.push(node);
    else stack.push(merges[node - count][1], merges[node - count][0]);
  }
  const first = new Int32Array(total).fill(0);
  const size = new Int32Array(total).fill(1);
  leaves.forEach((leaf, at) => (across[leaf] = first[leaf] = at));
  const sums = Array.from({ length: total }, (_, node) => (node < count ? [positions[2 * node], positions[2 * node + 1]] : null));
  merges.forEach(([left, right], merge) => {
    const node = count + merge;
    across[node] = (across[left] + across[right]) / 2;
    first[node] = Math.min(first[left], first[right]);
    size[node] = size[left] + size[right];
    sums[node] = [sums[left][0] + sums[right][0], sums[left][1] + sums[right][1]];
  });
  return {
    merges,
    across,
    members: (node) => leaves.slice(first[node], first[node] + size[node]),
    place: (node) => sums[node].map((sum) => sum / size[node]),
  };
}

// The cluster that each node lies in when the first `cut` merges are made, numbered as their first
// points come, as labels are; −1 for nodes above.
function familiesOf(merges, count, cut) {
  const top = Array.from({ length: count + merges.length }, (_, node) => node);
  for (let merge = cut - 1; merge >= 0; merge--) {
    for (const child of merges[merge].slice(0, 2)) top[child] = top[count + merge];
  }
  const numbers = new Map();
  for (let point = 0; point < count; point++) {
    if (!numbers.has(top[point])) numbers.set(top[point], numbers.size);
  }
  return top.map((node, at) => (at < count + cut ? numbers.get(node) : -1));
}

function padHull(context, hull) {
  context.beginPath();
  hull.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
  if (hull.length === 1) context.lineTo(hull[0][0] + 0.01, hull[0][1]);
  if (hull.length > 2) context.closePath();
}
