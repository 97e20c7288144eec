// Colours and marks of clusters, and the theme's own colours.

// Okabe and Ito 2008, "Color Universal Design": told apart with every kind of colour vision. The same
// list is in studio/features/clustering/charts/colours.py. The last is the ink of the theme.
export const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000"];
const INK_AT_NIGHT = "#ffffff";
export const SHAPES = ["circle", "square", "triangle", "diamond", "drop", "plus"];
export const NOISE = -1;

const pen = new OffscreenCanvas(1, 1).getContext("2d");

// Any opaque colour of CSS as #rrggbb.
function plainly(colour) {
  pen.fillStyle = colour;
  return pen.fillStyle;
}

export function theme(element) {
  const style = getComputedStyle(element);
  const read = (name, otherwise) => plainly(style.getPropertyValue(name).trim() || otherwise);
  const dark = Boolean(element.closest(".dark")) || document.body.classList.contains("dark");
  return {
    dark,
    text: read("--body-text-color", dark ? "#f4f2ee" : "#2a2825"),
    subdued: read("--body-text-color-subdued", dark ? "#a59f95" : "#78736a"),
    line: read("--border-color-primary", dark ? "#2a2825" : "#e7e4de"),
    background: read("--background-fill-primary", dark ? "#1d1b19" : "#ffffff"),
    accent: read("--color-accent", "#d16442"),
    plain: dark ? "#a59f95" : "#6b665e",
    faint: dark ? "#6b665e" : "#b5afa5",
    font: style.fontFamily || "system-ui, sans-serif",
  };
}

// The colour of a cluster: eight, then the same again with another shape, lighter or darker; or of
// each its own, where `inks` are given.
export function colourOf(cluster, { dark, inks = null }) {
  if (cluster < 0) return dark ? "#8f897f" : "#8a8479";
  if (inks?.[cluster]) return inks[cluster];
  const colour = PALETTE[cluster % 8];
  const shown = dark && colour === "#000000" ? INK_AT_NIGHT : colour;
  const round = Math.floor(cluster / 8);
  if (!round) return shown;
  return round % 2 ? mix(shown, dark ? "#ffffff" : "#000000", 0.3) : mix(shown, dark ? "#000000" : "#ffffff", 0.3);
}

export function shapeOf(cluster) {
  return cluster < 0 ? "cross" : SHAPES[Math.floor(cluster / 8) % SHAPES.length];
}

// A cluster's mark: what is drawn for each of its points.
export function markOf(cluster, colours, radius) {
  const fill = colourOf(cluster, colours);
  if (cluster < 0) return { shape: "cross", stroke: fill, radius: radius * 0.72, width: 1.1, alpha: 0.8 };
  return { shape: shapeOf(cluster), fill, stroke: edge(fill, colours), width: radius > 2.4 ? 0.8 : 0, radius };
}

export function edge(fill, { dark }) {
  return mix(fill, dark ? "#141312" : "#1d1b19", dark ? 0.4 : 0.38);
}

export function channels(colour) {
  const hex = colour.replace("#", "");
  const whole = hex.length === 3 ? [...hex].map((digit) => digit + digit).join("") : hex;
  const number = Number.parseInt(whole.slice(0, 6), 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}

export function mix(one, other, share) {
  const [a, b] = [channels(one), channels(other)];
  return hexOf(a.map((value, at) => value + (b[at] - value) * share));
}

export function hexOf(rgb) {
  return "#" + rgb.map((value) => Math.round(value).toString(16).padStart(2, "0")).join("");
}
