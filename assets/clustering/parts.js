// Small parts of the plot's frame: buttons with icons, switches, numbers in words.

import { h } from "../page.js";

// Drawn with the pen of the text's colour, 24 × 24.
const ICONS = {
  lasso: '<path d="M12 5c5 0 8 2 8 5s-3 5-8 5-8-2-8-5 3-5 8-5zM7 14c-2 1-2 4 0 4s2 3 0 3"/>',
  closer: '<path d="M12 5v14M5 12h14"/>',
  farther: '<path d="M5 12h14"/>',
  whole: '<path d="M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"/>',
  save: '<path d="M12 4v11M7 10l5 5 5-5M5 20h14"/>',
  brush: '<path d="M5 19l3-1L19 7l-2-2L6 16zM14 8l2 2"/>',
  eraser: '<path d="M4 15l9-9 6 6-7 7H8zM9 10l6 6M12 19h8"/>',
  undo: '<path d="M8 5L4 9l4 4M4 9h9a5 5 0 010 10h-3"/>',
  clear: '<path d="M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5"/>',
  start: '<path d="M6 5v14M19 5l-10 7 10 7z"/>',
  back: '<path d="M16 5l-9 7 9 7z"/>',
  play: '<path d="M7 4l13 8-13 8z" class="filled"/>',
  pause: '<path d="M8 5v14M16 5v14" class="thick"/>',
  forward: '<path d="M8 5l9 7-9 7z"/>',
  end: '<path d="M18 5v14M5 5l10 7-10 7z"/>',
};

export function icon(name) {
  return `<svg viewBox="0 0 24 24" aria-hidden="true">${ICONS[name]}</svg>`;
}

export function tool(name, title, onclick, attributes = {}) {
  const button = h("button", { type: "button", class: "tool", title, "aria-label": title, onclick, ...attributes });
  button.innerHTML = icon(name);
  return button;
}

export function setIcon(button, name, title) {
  if (button.dataset.icon === name) return;
  button.dataset.icon = name;
  button.innerHTML = icon(name);
  button.title = title;
  button.setAttribute("aria-label", title);
}

// A row of buttons of which one is pressed: [[value, title], …].
export function choice(name, options, chosen, onchoose) {
  const row = h("div", { class: "choice", role: "group", "aria-label": name });
  for (const [value, title] of options) {
    const button = h("button", { type: "button", "data-value": value, "aria-pressed": String(value === chosen) }, title);
    button.addEventListener("click", () => {
      for (const each of row.children) each.setAttribute("aria-pressed", String(each === button));
      onchoose(value);
    });
    row.append(button);
  }
  return row;
}

// 12,345
export function formatCount(number) {
  return Math.round(number).toLocaleString("en-US");
}

// Four significant digits at most.
export function figures(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size && (size >= 1e6 || size < 1e-3)) return value.toExponential(2).replace("e+", "e").replace("-", "−");
  return String(Number(value.toPrecision(4))).replace("-", "−");
}
