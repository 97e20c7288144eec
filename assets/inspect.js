// The tab “Look inside a LLaMA” (studio/features/labs/inspect_views.py): runs once for each of its HTML components.

element.addEventListener("click", (event) => {
  const token = event.target.closest("[data-at]");
  const head = event.target.closest("[data-head]");
  if (!token && !head) return;
  for (const each of (token || head).parentElement.children)
    if (each.matches("button")) each.setAttribute("aria-pressed", String(each === (token || head)));
  if (token) trigger("pick", { position: Number(token.dataset.at) });
  else trigger("choose", { head: Number(head.dataset.head) });
});

// What a token is, below the strip, as soon as the pointer is on it.
element.addEventListener("pointerover", (event) => {
  const strip = event.target.closest(".strip");
  if (!strip) return;
  const said = strip.parentElement.querySelector("[data-chosen]");
  said.textContent = event.target.closest("[data-at]")?.title || said.dataset.chosen;
});
element.addEventListener("pointerout", (event) => {
  const said = event.target.closest(".tokens")?.querySelector("[data-chosen]");
  if (said && !event.relatedTarget?.closest?.(".strip")) said.textContent = said.dataset.chosen;
});

// The number under the pointer on a heat map: its pixels are the roots of the weights.
const decoded = new WeakMap();

function pixels(image) {
  if (!decoded.has(image)) {
    const side = image.naturalWidth;
    const view = new OffscreenCanvas(side, side).getContext("2d");
    view.drawImage(image, 0, 0);
    decoded.set(image, view.getImageData(0, 0, side, side).data);
  }
  return decoded.get(image);
}

element.addEventListener("pointermove", (event) => {
  const image = event.target.closest("img[data-names]");
  if (!image || !image.naturalWidth) return;
  const side = image.naturalWidth;
  const box = image.getBoundingClientRect();
  const place = (at, from, length) =>
    Math.max(0, Math.min(side - 1, Math.floor(((at - from) / length) * side)));
  const row = place(event.clientY, box.top, box.height);
  const column = place(event.clientX, box.left, box.width);
  if (column > row) return; // nobody looks ahead
  const names = JSON.parse(image.dataset.names);
  const share = (pixels(image)[4 * (row * side + column)] / 255) ** 2;
  const values = {
    from: `“${names[row]}” (${row + 1})`,
    to: `“${names[column]}” (${column + 1})`,
    share: `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`,
  };
  const said = image.closest("figure").querySelector(".reading");
  said.textContent = image.dataset.words.replace(/\{(\w+)\}/g, (_, name) => values[name]);
});
