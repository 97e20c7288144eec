// Answers as studio/features/chat/markdown/html.py drew them: formulas and copying are added here.

import { copy, h, say } from "./page.js";

let katex = null; // where it is
let loading = null;

export function prepare(place) {
  katex = place;
}

function loadLibrary() {
  loading ||= (async () => {
    const style = new URL(katex.style, document.baseURI).href;
    document.head.append(h("link", { rel: "stylesheet", href: style }));
    return (await import(new URL(katex.script, document.baseURI).href)).default;
  })();
  return loading;
}

// Draws the formulas below an element and names its buttons. Code and formulas stay left to right,
// and do not decide to which side the words around them run.
export function finish(element) {
  for (const each of element.querySelectorAll(".code, code, .math")) each.dir = "ltr";
  for (const button of element.querySelectorAll(".copy-code:empty")) button.textContent = say("Copy");
  const formulas = [...element.querySelectorAll(".math")];
  if (!formulas.length || !katex) return;
  loadLibrary().then((library) => {
    for (const formula of formulas) {
      if (formula.dataset.drawn) continue;
      formula.dataset.drawn = "yes";
      const tex = formula.textContent;
      try {
        library.render(tex, formula, {
          displayMode: formula.classList.contains("display"),
          trust: false,
          maxSize: 20,
          maxExpand: 200,
          strict: "ignore",
        });
      } catch { // it stays TeX
        formula.textContent = tex;
      }
    }
  }, () => {});
}

export function onClick(event) {
  const button = event.target.closest(".copy-code");
  if (!button) return;
  copy(button.closest(".code").querySelector("code").textContent);
  showCopied(button);
}

// Says for a moment on the button that it was done.
export function showCopied(button) {
  const before = button.innerHTML;
  if (button.dataset.told) return;
  button.dataset.told = "yes";
  button.textContent = say("Copied");
  setTimeout(() => {
    button.innerHTML = before;
    delete button.dataset.told;
  }, 1500);
}

const HOLDERS = new Set(["BLOCKQUOTE", "DIV", "H1", "H2", "H3", "H4", "H5", "H6", "LI", "OL", "P", "PRE", "TABLE", "TBODY", "TD", "TR", "UL"]);

// Puts words behind the last ones, until their block is drawn anew.
export function append(element, text) {
  let at = element;
  for (;;) {
    const last = at.lastElementChild;
    const holds = last && (HOLDERS.has(last.tagName) || (last.tagName === "CODE" && at.tagName === "PRE"));
    if (!holds || last.classList.contains("math")) break;
    at = last;
  }
  at.append(text);
}
