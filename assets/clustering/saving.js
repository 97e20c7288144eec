// What is drawn as a file: SVG as it is, PNG of that SVG.

import { h } from "../page.js";
import { paintLegend } from "./plot/legend.js";
import { Vector, plain } from "./vector.js";

const SHARP = 2; // pixels of a PNG for each of the drawing, at least
const [WIDTH, EDGE, GAP] = [680, 20, 10]; // of a chart's file, around what is in it, between drawings
// Of a chart's texts: their style in charts.css, the size of letters, the height of a line.
const TEXTS = { h4: ["title", 15, 22], finding: ["finding", 14, 22], reading: ["finding", 14, 22], other: ["medium", 13, 20] };
const ARROW = 13; // pixels of the arrow on the pill of a line that can be dragged
const SVG = "http://www.w3.org/2000/svg";

// A chart with its title and words: its drawings side by side where they fit, and below one another.
export function saveChart(chart, format) {
  const parts = [];
  const fonts = getComputedStyle(chart.querySelector("svg.chart")).fontFamily;
  const inside = Math.max(WIDTH, ...Array.from(chart.querySelectorAll("svg.chart"), (each) => sides(each)[0]));
  let [x, y, row] = [0, EDGE, 0]; // the row is as high as its highest drawing
  const nextRow = () => {
    if (row) y += row + 12;
    [x, row] = [0, 0];
  };
  for (const part of chart.querySelectorAll("h4, p, figcaption, svg.chart")) {
    if (part.closest("[data-unsaved]")) continue;
    if (part.localName !== "svg") {
      nextRow();
      const [kind, size, height] = TEXTS[part.localName] ?? TEXTS[part.className] ?? TEXTS.other;
      for (const line of linesOf(copyForFile(part).textContent, inside, `${kind === "title" ? 600 : 400} ${size}px ${fonts}`)) {
        y += height;
        parts.push(element("text", { class: kind, x: EDGE, y: y - 6 }, line));
      }
      y += 4;
      continue;
    }
    const [width, height] = sides(part);
    if (x && x + width > inside) nextRow();
    const drawing = copyForFile(part);
    drawing.removeAttribute("style");
    drawing.setAttribute("x", EDGE + x + margin(part, "Left"));
    drawing.setAttribute("y", y + margin(part, "Top"));
    parts.push(drawing);
    x += width + GAP;
    row = Math.max(row, height);
  }
  nextRow();
  const [width, height] = [Math.ceil(inside + 2 * EDGE), Math.ceil(y + EDGE - 12)];
  const ground = element("rect", { class: "ground", width, height });
  const sheet = element("g", { class: "chart" }, ground, ...parts);
  const title = element("title", {}, chart.querySelector("h4").textContent);
  const root = element("svg", { class: document.body.classList.contains("dark") ? "dark" : "", width, height, viewBox: `0 0 ${width} ${height}` }, title, sheet);
  return save(plain(new XMLSerializer().serializeToString(root)), `${chart.dataset.file}.${format}`);
}

// Width and height of a drawing in a file, with what reaches into its margins.
function sides(drawing) {
  const [width, height] = ["width", "height"].map((name) => Number(drawing.getAttribute(name)));
  return [width + margin(drawing, "Left") + margin(drawing, "Right"), height + margin(drawing, "Top") + margin(drawing, "Bottom")];
}

function margin(drawing, side) {
  return Number.parseFloat(drawing.style[`margin${side}`]) || 0;
}

// A copy without what is for the page alone.
function copyForFile(part) {
  const copy = part.cloneNode(true);
  for (const pill of copy.querySelectorAll(".pill")) pill.setAttribute("width", pill.getAttribute("width") - ARROW);
  copy.querySelectorAll("[data-unsaved], .reach").forEach((each) => each.remove());
  return copy;
}

function element(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A text in lines of a width; Chinese is broken between any two letters.
function linesOf(text, width, font) {
  const pen = new OffscreenCanvas(1, 1).getContext("2d");
  pen.font = font;
  const lines = [""];
  for (const word of text.replace(/\s+/g, " ").trim().match(/[⺀-\uffee]|[^\s⺀-\uffee]+ ?| /g) ?? []) {
    if (lines.at(-1) && pen.measureText(lines.at(-1) + word.trimEnd()).width > width) lines.push("");
    lines[lines.length - 1] += word;
  }
  return lines;
}

// The plot: the points and all that is over them, the chart beside them, and the legend below.
export function savePlot(plot, format) {
  const { layers, camera, animation, colours, entries, hidden } = plot;
  const side = animation?.view.chart ? [layers.side.clientWidth, layers.side.clientHeight] : [0, 0];
  const [width, height] = [camera.width + side[0], Math.max(camera.height, side[1])];
  const below = paintLegend(new Vector(0, 0, colours), entries, hidden, width, colours);
  const context = new Vector(width, height + below, colours);
  const before = { hovered: plot.hovered, ratio: layers.ratio };
  plot.hovered = -1;
  layers.ratio = Math.max(SHARP, before.ratio);
  context.save();
  context.beginPath();
  context.rect(0, 0, camera.width, camera.height);
  context.clip();
  layers.paintGround(context);
  layers.paintOver(context);
  context.restore();
  plot.hovered = before.hovered;
  layers.ratio = before.ratio;
  if (animation?.view.chart) {
    context.save();
    context.translate(camera.width, 0);
    animation.view.chart(context, ...side, animation.frame, colours);
    context.restore();
  }
  context.save();
  context.translate(0, height);
  paintLegend(context, entries, hidden, width, colours);
  context.restore();
  return save(context.text(), `clusters.${format}`);
}

// The text of an SVG as a file; its name says of which kind.
async function save(svg, name) {
  const blob = new Blob([svg], { type: "image/svg+xml" });
  const link = h("a", { href: URL.createObjectURL(name.endsWith(".png") ? await picture(blob) : blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function picture(blob) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  await image.decode();
  const ratio = Math.max(SHARP, window.devicePixelRatio || 1);
  const sheet = new OffscreenCanvas(image.naturalWidth * ratio, image.naturalHeight * ratio);
  sheet.getContext("2d").drawImage(image, 0, 0, sheet.width, sheet.height);
  URL.revokeObjectURL(image.src);
  return sheet.convertToBlob({ type: "image/png" });
}
