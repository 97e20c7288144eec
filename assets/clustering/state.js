// What a plot shows, as numbers: for tests.

export function stateOf(plot) {
  const marks = plot.look?.marks ?? [];
  let drawn = 0;
  for (const mark of marks) drawn += mark !== 65535;
  return {
    revision: plot.scene.revision ?? null,
    mode: plot.scene.mode,
    points: marks.length,
    drawn,
    clusters: plot.labels && !plot.animation ? new Set([...plot.labels].filter((label) => label >= 0)).size : null,
    by: plot.kind,
    hidden: [...plot.hidden],
    zoom: plot.camera.zoom,
    moved: plot.camera.moved,
    dims: plot.camera.dims,
    selected: plot.selected?.length ?? 0,
    hovered: plot.hovered < 0 ? null : plot.rows?.[plot.hovered] ?? plot.hovered,
    frame: plot.animation ? plot.animation.frame : null,
    frames: plot.animation ? plot.player.frames : 0,
    playing: plot.player.playing,
    sentence: plot.animation ? plot.player.said.textContent : "",
    centres: plot.centres.points,
    sketched: plot.spray.points.length,
    busy: plot.layers.isBusy,
    error: plot.error.textContent,
    painted: plot.layers.painted,
    took: plot.layers.took,
    thumbs: plot.thumbs?.seen.length ?? 0,
  };
}
