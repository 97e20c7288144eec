// The film of each algorithm: how its frames look, what they say, and the chart beside them.
//
// A reel: interval (ms a frame), tweens (whether things move between frames), look(colours, radius) of
// the points, under() and over() them, chart(), legend() and sentence() of a frame, about(point).

import { dbscan } from "./reel_dbscan.js";
import { kmeans } from "./reel_kmeans.js";
import { mixture } from "./reel_mixture.js";
import { agglomerative } from "./reel_tree.js";
import { Frames } from "./frames.js";

const REELS = { kmeans, dbscan, mixture, agglomerative };

export function reelOf(film) {
  const make = REELS[film.algorithm];
  if (!make) return null;
  const frames = new Frames(film);
  return { film, frames, reel: make(frames), frame: -1, share: 1 };
}
