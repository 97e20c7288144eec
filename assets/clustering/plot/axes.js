// What lies behind the points: lines at round numbers, the cube of a space.

// Round steps: about `count` of them in a range.
export function stepFor(range, count) {
  const rough = range / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
}

export function ticks(low, high, count) {
  const step = stepFor(high - low, count);
  const first = Math.ceil(low / step - 1e-9);
  const found = [];
  for (let nth = first; nth * step <= high + step * 1e-9 && found.length < 100; nth++) found.push(nth * step);
  return { step, values: found };
}

// A number as short as its step allows.
export function short(value, step) {
  if (value === 0 || Math.abs(value) < step / 1e6) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || step < 1e-4) return value.toExponential(Math.max(0, Math.min(3, Math.round(Math.log10(size / step))))).replace("e+", "e");
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return value.toFixed(decimals).replace("-", "−");
}

export function paintPlane(context, camera, colours, names) {
  const { width, height } = camera;
  const [[x0, y1], [x1, y0]] = [camera.back(0, 0), camera.back(width, height)];
  const across = ticks(x0, x1, width / 110);
  const up = ticks(y0, y1, height / 80);
  context.lineWidth = 1;
  context.strokeStyle = colours.line;
  context.beginPath();
  for (const value of across.values) {
    const x = Math.round(camera.point(value, 0)[0]) + 0.5;
    context.moveTo(x, 0);
    context.lineTo(x, height);
  }
  for (const value of up.values) {
    const y = Math.round(camera.point(0, value)[1]) + 0.5;
    context.moveTo(0, y);
    context.lineTo(width, y);
  }
  context.stroke();
  return () => { // the numbers, over the points
    context.font = `11px ${colours.font}`;
    context.lineJoin = "round";
    const write = (text, x, y, align) => {
      context.textAlign = align;
      context.lineWidth = 3;
      context.strokeStyle = colours.background;
      context.strokeText(text, x, y);
      context.fillStyle = colours.subdued;
      context.fillText(text, x, y);
    };
    for (const value of across.values) {
      const x = camera.point(value, 0)[0];
      if (x > 34 && x < width - 24) write(short(value, across.step), x, height - 7, "center");
    }
    for (const value of up.values) {
      const y = camera.point(0, value)[1];
      if (y > (names[1] ? 26 : 14) && y < height - 24) write(short(value, up.step), 7, y + 4, "left");
    }
    if (names[0]) write(names[0], width - 8, height - 22, "right");
    if (names[1]) write(names[1], 7, 15, "left");
  };
}

const EDGES = [[0, 1], [0, 2], [1, 3], [2, 3], [4, 5], [4, 6], [5, 7], [6, 7], [0, 4], [1, 5], [2, 6], [3, 7]];

export function paintSpace(context, camera, colours, names) {
  const { box } = camera;
  const corner = (number) => camera.point(box[number & 1], box[2 + ((number >> 1) & 1)], box[4 + ((number >> 2) & 1)]);
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.beginPath();
  for (const [from, to] of EDGES) {
    const [a, b] = [corner(from), corner(to)];
    context.moveTo(a[0], a[1]);
    context.lineTo(b[0], b[1]);
  }
  context.stroke();
  return () => {
    context.font = `11px ${colours.font}`;
    context.fillStyle = colours.subdued;
    context.textAlign = "center";
    names.slice(0, 3).forEach((name, axis) => { // at the edge that is lowest, or of the upright ones leftmost
      const middles = EDGES.filter(([from, to]) => to - from === 1 << axis)
        .map((edge) => edge.map(corner))
        .map(([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
      const [x, y] = middles.reduce((best, each) => (axis === 2 ? each[0] < best[0] : each[1] > best[1]) ? each : best);
      context.fillText(name, axis === 2 ? x - 14 : x, axis === 2 ? y : y + 16);
    });
  };
}
