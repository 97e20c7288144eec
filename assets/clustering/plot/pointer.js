// The hand on the plot: moves, zooms, selects, points at a point; and the same by keys.

const NEAR = 14; // pixels within which a point is meant
const STILL = 4; // pixels that a click may move
const SCROLLING = 350; // ms after the page was scrolled, in which the wheel goes on scrolling it

// plot: {over, camera, draw(), hover(at, x, y), mode(), tool (of draw and centres), select(path)}
export function listen(plot) {
  const { over } = plot;
  const fingers = new Map();
  let gesture = null; // "move", "select", "tool" or "pinch"
  let last = null;
  let path = [];
  let travelled = 0;
  let scrolled = -Infinity;

  const place = (event) => {
    const box = over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  over.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    over.focus({ preventScroll: true });
    over.classList.add("by-hand"); // no ring of focus until keys are used
    over.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    if (fingers.size === 2) {
      if (gesture === "tool") plot.tool().cancel();
      gesture = "pinch";
      last = null;
      return;
    }
    if (fingers.size > 1) return;
    last = place(event);
    travelled = 0;
    const tool = plot.tool();
    if (plot.isLassoing() || (event.shiftKey && !tool)) {
      gesture = "select";
      path = [last];
    } else if (tool) {
      gesture = "tool";
      tool.down(last[0], last[1], event);
    } else {
      gesture = "move";
    }
    event.preventDefault();
  });

  over.addEventListener("pointermove", (event) => {
    const now = place(event);
    if (!fingers.has(event.pointerId)) {
      if (event.pointerType === "mouse") plot.hover(now[0], now[1]);
      plot.tool()?.over(now[0], now[1]);
      return;
    }
    fingers.set(event.pointerId, now);
    if (gesture === "pinch") {
      pinch();
      return;
    }
    if (!last) return;
    const [dx, dy] = [now[0] - last[0], now[1] - last[1]];
    travelled += Math.hypot(dx, dy);
    if (gesture === "move" && travelled > STILL) {
      plot.hover(null);
      plot.camera.drag(dx, dy);
      plot.onMove();
    } else if (gesture === "select") {
      path.push(now);
      plot.lasso(path);
    } else if (gesture === "tool") {
      for (const each of event.getCoalescedEvents?.() || [event]) plot.tool()?.move(...place(each));
    }
    last = now;
  });

  function pinch() {
    const [[ax, ay], [bx, by]] = [...fingers.values()];
    const now = { x: (ax + bx) / 2, y: (ay + by) / 2, far: Math.hypot(ax - bx, ay - by) || 1 };
    if (last?.far) {
      plot.camera.zoomAt(now.far / last.far, now.x, now.y);
      if (plot.camera.dims === 2) plot.camera.drag(now.x - last.x, now.y - last.y);
      plot.onMove();
    }
    last = now;
  }

  for (const end of ["pointerup", "pointercancel"]) {
    over.addEventListener(end, (event) => {
      if (!fingers.delete(event.pointerId)) return;
      if (gesture === "pinch") {
        if (!fingers.size) gesture = null;
        last = null;
        return;
      }
      if (gesture === "select") {
        if (end === "pointerup" && travelled > STILL) plot.select(path);
        else plot.select(null);
      } else if (gesture === "tool") {
        if (end === "pointerup") plot.tool()?.up();
        else plot.tool()?.cancel();
      } else if (gesture === "move" && travelled <= STILL && end === "pointerup") {
        plot.click(...place(event));
      }
      gesture = last = null;
    });
  }
  over.addEventListener("pointerleave", () => {
    if (!fingers.size) {
      plot.hover(null);
      plot.tool()?.leave();
    }
  });

  window.addEventListener("wheel", (event) => {
    if (!over.contains(event.target)) scrolled = event.timeStamp;
  }, { passive: true });
  over.addEventListener("wheel", (event) => {
    // Whoever scrolls down the page and comes across the plot wants to go on.
    if (event.timeStamp - scrolled < SCROLLING) {
      scrolled = event.timeStamp;
      return;
    }
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    const amount = Math.max(-240, Math.min(240, event.deltaY * lines));
    plot.camera.zoomAt(Math.exp(-amount * (event.ctrlKey ? 0.008 : 0.0022)), ...place(event));
    plot.onMove();
  }, { passive: false });

  over.addEventListener("dblclick", (event) => {
    if (plot.tool()) return;
    event.preventDefault();
    plot.camera.home();
    plot.onMove();
  });

  const STEPS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  over.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    over.classList.remove("by-hand");
    if (plot.key(event)) event.preventDefault();
    else if (STEPS[event.key]) {
      plot.camera.drag(...STEPS[event.key].map((step) => step * 40));
      plot.onMove();
      event.preventDefault();
    } else if (event.key === "+" || event.key === "=" || event.key === "-") {
      plot.camera.zoomAt(event.key === "-" ? 1 / 1.3 : 1.3);
      plot.onMove();
      event.preventDefault();
    } else if (event.key === "0" || event.key === "Home") {
      plot.camera.home();
      plot.onMove();
      event.preventDefault();
    }
  });
}

// The drawn point nearest to a pixel, or −1. All are looked at: 20,000 take a twentieth of a
// millisecond, less than keeping an index in step with the camera would.
export function nearest(screen, shown, x, y, within = NEAR) {
  let [best, least] = [-1, within * within];
  for (let at = 0, from = 0; from < screen.length; at++, from += 2) {
    const [dx, dy] = [screen[from] - x, screen[from + 1] - y];
    const far = dx * dx + dy * dy;
    if (far <= least && shown(at)) [best, least] = [at, far];
  }
  return best;
}

// Whether each pixel lies within a closed line: even and odd crossings.
export function inside(path, screen) {
  const found = [];
  for (let from = 0; from < screen.length; from += 2) {
    const [x, y] = [screen[from], screen[from + 1]];
    let odd = false;
    for (let one = 0, other = path.length - 1; one < path.length; other = one++) {
      const [[ax, ay], [bx, by]] = [path[one], path[other]];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
    }
    if (odd) found.push(from / 2);
  }
  return found;
}
