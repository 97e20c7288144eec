// Colours and marks of clusters, and the theme's own colours.

export const SHAPES = ["circle", "square", "triangle", "diamond", "drop", "plus"];
export const NOISE = -1;

const pen = new OffscreenCanvas(1, 1).getContext("2d");

// Any opaque colour of CSS as #rrggbb.
function plainly(colour) {
  pen.fillStyle = colour;
  return pen.fillStyle;
}

const [WHITE, BLACK] = ["white", "black"].map(plainly);

// The theme's colours and those of the palette (studio/core/palette.py) that go with them.
export function theme(element, { light, dark: night }) {
  const style = getComputedStyle(element);
  const read = (name) => plainly(style.getPropertyValue(name).trim());
  const dark = Boolean(element.closest(".dark")) || document.body.classList.contains("dark");
  const own = dark ? night : light;
  return {
    dark,
    ...own,
    clusters: own.clusters.map(plainly),
    text: read("--body-text-color"),
    subdued: read("--body-text-color-subdued"),
    line: read("--border-color-primary"),
    background: read("--background-fill-primary"),
    accent: read("--color-accent"),
    font: style.fontFamily || "system-ui, sans-serif",
  };
}

// The colour of a cluster: eight, then the same again with another shape, lighter or darker; or of
// each its own, where `inks` are given.
export function colourOf(cluster, { clusters, noise, dark, inks = null }) {
  if (cluster < 0) return noise;
  if (inks?.[cluster]) return inks[cluster];
  const colour = clusters[cluster % clusters.length];
  const round = Math.floor(cluster / clusters.length);
  if (!round) return colour;
  return mix(colour, Boolean(round % 2) === dark ? WHITE : BLACK, 0.3);
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

export function edge(fill, { dark, ground }) {
  return mix(fill, ground, dark ? 0.4 : 0.38);
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
