// Strokes on a canvas, by mouse, pen and finger. Stands before the scripts of the layers that are drawn on.

const SIDE = 512; // pixels of the longer side of an empty canvas
const A_TAP = 10; // CSS pixels: two fingers that scroll or zoom have drawn no more before they do

// Draws one stroke: {points, size, colour, erases}.
function trace(context, { points, size, colour, erases }) {
  context.globalCompositeOperation = erases ? "destination-out" : "source-over";
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = size;
  context.lineCap = context.lineJoin = "round";
  const [first, ...rest] = points;
  context.beginPath();
  if (!rest.length) {
    context.arc(first.x, first.y, size / 2, 0, 2 * Math.PI);
    context.fill();
    return;
  }
  context.moveTo(first.x, first.y);
  rest.forEach((point, index) => {
    const next = rest[index + 1];
    if (next) context.quadraticCurveTo(point.x, point.y, (point.x + next.x) / 2, (point.y + next.y) / 2);
    else context.lineTo(point.x, point.y);
  });
  context.stroke();
}

function place(surface, event) {
  const box = surface.getBoundingClientRect();
  return {
    x: quarter(((event.clientX - box.left) * surface.width) / box.width),
    y: quarter(((event.clientY - box.top) * surface.height) / box.height),
  };
}

// As fine as is seen, and short where it is kept.
function quarter(length) {
  return Math.round(4 * length) / 4;
}

// Lets the hand draw on a surface: begin(tool) gives {size, colour, erases}, each change calls
// draw(stroke), and at last finish(stroke) or abandon().
function followHand(surface, { begin, draw, finish, abandon }) {
  let hand = null; // the pointer that draws: its id and kind, and how far it has gone
  let stroke = null;
  let byPen = false; // once a pen has drawn, what else touches the canvas is a palm

  function end(then) {
    const drawn = stroke;
    stroke = hand = null;
    then(drawn);
  }

  surface.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (event.pointerType === "pen") {
      byPen = true;
      if (hand && hand.type !== "pen") end(abandon); // the palm lay there first
    }
    if (event.pointerType === "touch") {
      if (hand?.type === "touch" && hand.gone < A_TAP) end(abandon); // two fingers scroll and zoom
      if (byPen || !event.isPrimary) return;
    }
    if (stroke) return;
    event.preventDefault();
    surface.focus({ preventScroll: true });
    surface.setPointerCapture(event.pointerId);
    const tool = begin();
    const scale = Math.max(surface.width, surface.height) / SIDE;
    const paper = [surface.width, surface.height]; // the name under which browsers keep it
    hand = { id: event.pointerId, type: event.pointerType, x: event.clientX, y: event.clientY, gone: 0 };
    stroke = { ...tool, size: tool.size * scale, paper, points: [place(surface, event)] };
    draw(stroke);
  });

  surface.addEventListener("pointermove", (event) => {
    if (event.pointerId !== hand?.id) return;
    hand.gone = Math.max(hand.gone, Math.hypot(event.clientX - hand.x, event.clientY - hand.y));
    const moves = event.getCoalescedEvents?.() || [];
    for (const move of moves.length ? moves : [event]) stroke.points.push(place(surface, move));
    draw(stroke);
  });

  surface.addEventListener("pointerup", (event) => event.pointerId === hand?.id && end(finish));
  // The browser scrolls or zooms from now on: what was drawn before that was meant, a tap was not.
  surface.addEventListener("pointercancel", (event) => {
    if (event.pointerId !== hand?.id) return;
    end(hand.type === "touch" && hand.gone < A_TAP ? abandon : finish);
  });
  // A palm that comes to lie on the canvas does not end a stroke.
  surface.addEventListener("touchstart", (event) => {
    if (hand && hand.gone >= A_TAP && event.cancelable) event.preventDefault();
  }, { passive: false });
}

// --- the server ---------------------------------------------------------------------------------

// The body of a reply; raises its sentence, or `offline` where there is none.
async function answer(request, offline) {
  let reply;
  try {
    reply = await request;
  } catch {
    throw new Error(offline);
  }
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(body.error?.message || `${offline} (${reply.status})`);
  return body;
}

function loadInput(id, gone) {
  return new Promise((resolve, reject) => {
    const picture = new Image();
    picture.onload = () => resolve(picture);
    picture.onerror = () => reject(new Error(gone));
    picture.src = `api/v1/inputs/${id}.png`;
  });
}

// --- words --------------------------------------------------------------------------------------

// Puts the words of the reader's language into the parts that ask for some.
function speak(element, words) {
  for (const part of element.querySelectorAll("[data-words]")) {
    const text = words[part.dataset.words];
    if (part.tagName === "BUTTON" && !part.hasAttribute("data-written")) {
      part.title = text;
      part.setAttribute("aria-label", text);
    } else if (part.getAttribute("role") === "toolbar") {
      part.setAttribute("aria-label", text);
    } else {
      part.textContent = text;
    }
  }
}
