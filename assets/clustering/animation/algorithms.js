// The animation of each algorithm: how its frames look, what they say, and the chart beside them.
//
// A view: interval (ms a frame), tweens (whether things move between frames), look(colours, radius) of
// the points, under() and over() them, chart(), legend() and sentence() of a frame, about(point).

import { dbscan } from "./dbscan.js";
import { kmeans } from "./kmeans.js";
import { mixture } from "./mixture.js";
import { agglomerative } from "./agglomerative.js";
import { Frames } from "./frames.js";

const VIEWS = { kmeans, dbscan, mixture, agglomerative };

export function animationOf(data) {
  const make = VIEWS[data.algorithm];
  if (!make) return null;
  const frames = new Frames(data);
  return { data, frames, view: make(frames), frame: -1, share: 1 };
}
