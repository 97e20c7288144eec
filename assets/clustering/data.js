// What the server has: points, labels, animations, thumbnails. Each answer is kept under its address.

import { Failure, address, say } from "../page.js";

const KEPT = 12;
const kept = new Map(); // address → promise

function remember(key, make) {
  if (!kept.has(key)) {
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    const promise = make();
    promise.catch(() => kept.delete(key)); // what failed is asked for again
    kept.set(key, promise);
  }
  return kept.get(key);
}

async function reply(path, options = {}) {
  let answer;
  try {
    answer = await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(say("The studio cannot be reached. Try again in a moment."), 0);
  }
  if (answer.ok) return answer;
  const data = await answer.json().catch(() => ({}));
  throw new Failure(data.error?.message || `HTTP ${answer.status}`, answer.status);
}

// uint32 length of the header, the header as JSON, then plain arrays of little-endian numbers.
async function blocks(path) {
  const buffer = await (await reply(path)).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { header, buffer, start: 4 + length };
}

function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return new URLSearchParams(given).toString();
}

export function points({ data, dims, projection, scaling }) {
  const path = `cluster-data/${encodeURIComponent(data)}/points?${query({ dims, projection, scaling })}`;
  return remember(path, async () => {
    const { header, buffer, start } = await blocks(path);
    const count = header.shown;
    const positions = restorePositions(new Float32Array(buffer, start, count * header.dims), header);
    const rows = new Uint32Array(buffer, start + 4 * count * header.dims, count);
    return { path, header, positions, rows, truth: header.truth };
  });
}

// In the data's own coordinates: what float32 cannot hold comes with an offset and a unit of each axis.
function restorePositions(positions, { dims, offset = [], unit = [] }) {
  if (offset.every((each) => each === 0) && unit.every((each) => each === 1)) return positions;
  return Float64Array.from(positions, (value, at) => value * (unit[at % dims] ?? 1) + (offset[at % dims] ?? 0));
}

// Labels of the points that are shown with the same words.
export function labels({ labels: job, algorithm, dims, projection, scaling }) {
  const path = `clusterings/${encodeURIComponent(job)}/labels?${query({ algorithm, dims, projection, scaling })}`;
  return remember(path, async () => {
    const { header, buffer, start } = await blocks(path);
    const bytes = buffer.byteLength - start;
    return {
      path,
      header,
      of(count) { // of so many points; int16 where there are few clusters, else int32
        if (bytes < 2 * count) throw new Failure(say("These labels belong to other points."), 0);
        const Kind = bytes >= 4 * count ? Int32Array : Int16Array;
        return { path, header, labels: new Kind(buffer, start, count) };
      },
    };
  });
}

export async function animation(body, signal) {
  const answer = await reply("cluster-animations", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  return answer.json();
}

// The columns' own values of one point: {columns, values}
export function row(data, at) {
  return reply(`cluster-data/${encodeURIComponent(data)}/rows/${at}`).then((answer) => answer.json());
}

// {pictures: ids by row, thumbnail: address of one}
export function thumbnails(data) {
  const path = `cluster-data/${encodeURIComponent(data)}/thumbs`;
  return remember(path, async () => (await reply(path)).json());
}
