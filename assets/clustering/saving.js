// A chart as a file: PNG and SVG, painted of a copy that is as wide on a phone as elsewhere.

import { give, SHARP } from "./exporting.js";
import { ink, trace } from "./tracing.js";
import { Vector } from "./vector.js";

const WIDTH = 680; // of what has none of its own, in pixels of the page
const EDGE = 20; // around it

// What styles put before an element, which has no place of its own that a script could ask for.
const BEFORE = ["display", "position", "left", "right", "top", "width", "height", "flex", "margin", "color", "backgroundColor", "borderRadius", "boxShadow"];

export async function saveChart(chart, format) {
  const copy = copyOf(chart);
  try {
    const { left, top, width, height } = sheetOf(copy);
    const paper = groundOf(chart);
    const name = `${chart.dataset.file}.${format}`;
    if (format === "svg") {
      const context = new Vector(width, height, { paper }, titleOf(chart));
      trace(context, copy, [left, top]);
      give(new Blob([context.text()], { type: "image/svg+xml" }), name);
      return;
    }
    const sheet = new OffscreenCanvas(width * SHARP, height * SHARP);
    const context = sheet.getContext("2d");
    context.fillStyle = paper;
    context.fillRect(0, 0, sheet.width, sheet.height);
    context.scale(SHARP, SHARP);
    trace(context, copy, [left, top]);
    give(await sheet.convertToBlob({ type: "image/png" }), name);
  } finally {
    copy.remove();
  }
}

const titleOf = (chart) => chart.querySelector("h4").textContent;

// Beside the chart, so that the same styles hold, and out of sight.
function copyOf(chart) {
  const copy = chart.cloneNode(true);
  copy.querySelectorAll("[data-unsaved]").forEach((each) => each.remove());
  copy.querySelectorAll("[aria-pressed]").forEach((each) => each.removeAttribute("aria-pressed"));
  copy.inert = true;
  copy.classList.add("saved");
  copy.style.width = `${WIDTH}px`;
  chart.after(copy);
  for (const element of copy.querySelectorAll("*")) writeBefore(element);
  copy.classList.add("written"); // from here on nothing stands before anything by style
  const needed = Array.from(copy.querySelectorAll(".scroll"), (each) => each.firstElementChild.offsetWidth);
  copy.style.width = `${Math.max(WIDTH, ...needed)}px`;
  return copy;
}

function writeBefore(element) {
  const style = getComputedStyle(element, "::before");
  const [, words] = /^"([^"]*)"$/.exec(style.content) ?? []; // not "…" / "", which is for the hand
  if (words === undefined) return;
  const written = document.createElement("span");
  written.textContent = words;
  written.style.textAlign = "left"; // a space at its end is part of it
  for (const name of BEFORE) written.style[name] = style[name];
  element.prepend(written);
}

function sheetOf(copy) {
  const { left, top, width, height } = copy.getBoundingClientRect();
  return { left: left - EDGE, top: top - EDGE, width: Math.ceil(width) + 2 * EDGE, height: Math.ceil(height) + 2 * EDGE };
}

// The colour of what the chart stands on.
function groundOf(element) {
  for (let each = element; each; each = each.parentElement) {
    const [colour, alpha] = ink(getComputedStyle(each).backgroundColor);
    if (alpha === 1) return colour;
  }
  return "#ffffff";
}
