// The plot of clusterings (studio/features/clustering/plot/plot_component.py): points, clusters, animations.
//
// It shows the scene that its value holds (see plot.py) and fetches what that names. `trigger` tells
// of what the hand does: "drawn", "centres", "select", "mode". window.atelierPlots[name].state() tells tests
// what is seen.

import { h, say, speak } from "../page.js";
import { Bar } from "./plot/toolbar.js";
import { Plane, Space, extentOf } from "./plot/camera.js";
import { theme } from "./colours.js";
import * as data from "./data.js";
import { Centres, Spray } from "./plot/tools.js";
import { rowsOf, showLegend, sizesOf } from "./plot/legend.js";
import { look, sizeOf } from "./plot/look.js";
import { Player } from "./animation/player.js";
import { inside, listen, nearest } from "./plot/pointer.js";
import { animationOf } from "./animation/algorithms.js";
import { Layers } from "./plot/layers.js";
import { stateOf } from "./state.js";
import { frameAt } from "./animation/frame_chart.js";
import { Thumbs } from "./plot/thumbs.js";
import { Tip } from "./plot/tip.js";

const EMPTY = { data: null, dims: 2, projection: "pca", scaling: "none", mode: "view", labels: null, algorithm: null, animation: null };
const [NARROW, WIDE] = [480, 620]; // pixels: below, the tools are fewer; from, a chart stands beside
const DRAWN_BOX = [-1.1, 1.1, -1.1, 1.1];

export function start(element, hooks, given) {
  speak(given.words);
  const plot = new Plot(element, hooks, given);
  (window.atelierPlots ||= {})[given.name] = plot;
  hooks.watch("value", () => plot.follow());
  plot.follow();
}

class Plot {
  scene = EMPTY;
  points = null; // of the server: {header, positions, rows, truth}
  labelling = null; // {header, labels}
  animation = null; // {frames, view, frame, share}
  hidden = new Set();
  by = "clusters"; // or "truth"
  own = true; // clusters of a picture's colours are shown in these
  selected = null; // places among the points that are shown
  hovered = -1;
  path = null; // of the lasso while it is drawn
  lassos = false;
  version = 0;

  // titles: of algorithms, by name; palette: by day and in the dark
  constructor(element, { props, trigger }, { titles = {}, palette }) {
    this.titles = titles;
    this.palette = palette;
    this.props = props;
    this.trigger = trigger;
    this.element = element;
    this.camera = new Plane(DRAWN_BOX);
    this.spray = new Spray(this, (points) => this.notify("drawn", { points }));
    this.centres = new Centres(this, (centres) => this.notify("centres", { centres }));
    this.bar = new Bar(this);
    this.layers = new Layers(this);
    this.over = this.layers.over;
    this.tip = new Tip(this);
    this.player = new Player((frame, share) => this.showFrame(frame, share));
    this.player.element.hidden = true;
    this.legend = h("div", { class: "legend" });
    this.note = h("p", { class: "note" });
    this.error = h("div", { class: "error", role: "alert", hidden: true });
    element.replaceChildren(this.bar.element, this.layers.element, this.player.element, this.error, this.legend, this.note);
    listen(this);
    this.layers.side.addEventListener("click", (event) => {
      if (!this.animation?.view.chart || this.animation.view.unordered) return;
      const box = this.layers.side.getBoundingClientRect();
      this.player.seek(frameAt(event.clientX - box.left, box.width, this.player.frames));
    });
    new ResizeObserver(() => this.onMove()).observe(this.layers.frame);
    new ResizeObserver(() => this.fold()).observe(element);
    new MutationObserver(() => this.onTheme()).observe(document.body, { attributeFilter: ["class"] });
    this.onTheme();
  }

  // --- the scene ----------------------------------------------------------------------------------

  async follow() {
    const before = this.scene;
    try {
      this.scene = { ...EMPTY, ...JSON.parse(this.props.value || "{}") };
    } catch {
      return;
    }
    const { scene } = this;
    const mine = ++this.version;
    const same = (...names) => names.every((name) => JSON.stringify(before[name]) === JSON.stringify(scene[name]));
    this.asking?.abort();
    this.asking = new AbortController();
    this.fail("");
    if (Array.isArray(scene.points) && !same("points") && !this.isMine("drawn", scene.points)) this.spray.put(scene.points);
    if (Array.isArray(scene.centres) && !same("centres") && !this.isMine("centres", scene.centres)) this.centres.put(scene.centres);
    // Other data, or the same ones seen otherwise: centres that were set there mean nothing here.
    if (!same("data", "dims", "projection", "scaling")) this.centres.put(scene.centres ?? []);
    if (!same("mode")) this.lassos = false;
    if (!same("data", "dims", "projection", "scaling")) this.select(null);

    if (scene.algorithm && before.data && !same("algorithm", "labels")) this.comeIntoView(); // picked from a grid far below

    const isDrawing = scene.mode === "draw";
    const isAnimated = scene.animation && !isDrawing;
    const again = isAnimated && this.animation && same("animation", "revision");
    this.layers.busy(!isDrawing && Boolean(scene.data || isAnimated));
    const answers = await Promise.allSettled([
      scene.data && !isDrawing ? data.points(scene) : null,
      scene.data && scene.labels && !isDrawing ? data.labels(scene) : null,
      again ? this.animation.data : isAnimated ? data.animation(scene.animation, this.asking.signal) : null,
      scene.data && scene.thumbs && !isDrawing ? data.thumbnails(scene.data) : null,
    ]);
    if (mine !== this.version) return;
    this.fail(answers.find(({ reason }) => reason)?.reason.message);
    const [points, labelling, animation, thumbs] = answers.map(({ value }) => value ?? null);
    this.points = points;
    this.label(labelling);
    if (this.shownThumbs !== thumbs) this.thumbs = thumbs && new Thumbs(this, thumbs.pictures, thumbs.thumbnail);
    this.shownThumbs = thumbs;
    if (!again) this.animate(animation);
    this.hover(null); // what is known of a point may be another thing now
    this.layers.busy(false);
    this.refit();
    this.bar.update();
    this.refresh();
  }

  label(answer) {
    this.labelling = null;
    try {
      if (answer && this.points) this.labelling = answer.of(this.points.header.shown);
    } catch (error) {
      this.fail(error.message);
    }
    if (this.labelling?.path !== this.shownLabels) this.hidden.clear();
    this.shownLabels = this.labelling?.path;
  }

  animate(animation) {
    this.animation = null;
    this.player.pause();
    if (animation?.frames?.length) this.animation = animationOf(animation);
    this.player.element.hidden = !this.animation;
    if (!this.animation) return;
    const { view } = this.animation;
    this.player.load(animation.frames.length, view.interval, view.tweens);
    if (this.scene.play) this.player.play();
  }

  // A camera for what is shown; the one there is stays while the places do.
  refit() {
    const dims = this.animation || this.scene.mode === "draw" ? 2 : this.points?.header.dims ?? 2;
    const key = this.scene.mode === "draw" ? "draw" : this.points?.path ?? this.animation?.data ?? "none";
    if (this.fittedTo === key && this.camera.dims === dims) return;
    this.fittedTo = key;
    let box = DRAWN_BOX;
    if (this.animation && this.points?.header.dims !== 2) box = extentOf(this.animation.frames.positions, 2);
    else if (this.points) box = this.points.header.density?.extent ?? extentOf(this.points.positions, dims);
    else if (this.animation) box = extentOf(this.animation.frames.positions, 2);
    else if (this.spray.points.length) box = together(DRAWN_BOX, extentOf(Float64Array.from(this.spray.points.flat()), 2));
    this.camera = new (dims === 3 ? Space : Plane)(box);
    this.layers.resize();
  }

  comeIntoView() {
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.element.scrollIntoView({ block: "nearest", behavior: isCalm ? "auto" : "smooth" });
  }

  notify(name, payload) {
    (this.sent ||= {})[name] = JSON.stringify(payload[name === "drawn" ? "points" : name]);
    this.trigger(name, payload);
  }

  isMine(name, value) {
    return this.sent?.[name] === JSON.stringify(value);
  }

  fail(sentence = "") {
    this.error.textContent = sentence;
    this.error.hidden = !sentence;
  }

  fold() {
    const width = this.element.clientWidth;
    this.element.classList.toggle("wide", width >= WIDE);
    this.element.classList.toggle("narrow", width < NARROW);
  }

  // --- what is seen -------------------------------------------------------------------------------

  onTheme() {
    this.colours = theme(this.element, this.palette);
    this.layers.forget();
    this.refresh();
  }

  get positions() {
    if (this.animation) return this.animation.frames.positions;
    if (this.scene.mode === "draw") return Float64Array.from(this.spray.points.flat());
    return this.points?.positions ?? new Float32Array();
  }

  get rows() {
    return this.animation ? this.animation.data.rows : this.points?.rows;
  }

  // Labels of the points that are shown, or null.
  get labels() {
    if (this.animation) return this.animation.frames.labels;
    if (this.scene.mode === "draw") return null;
    if (this.by === "truth" && this.points?.truth) return this.points.truth;
    return this.labelling?.labels ?? null;
  }

  get kind() {
    return this.by === "truth" && this.points?.truth && !this.animation ? "truth" : "cluster";
  }

  // The clusters' own colours, where they have some and are shown in them.
  get inks() {
    return this.own && !this.animation && this.kind === "cluster" ? this.labelling?.header.inks ?? null : null;
  }

  // Everything anew: marks, legend, words, picture.
  refresh() {
    if (this.colours.inks !== this.inks) {
      this.colours = { ...this.colours, inks: this.inks };
      this.layers.forget();
    }
    this.shown = this.positions;
    this.mark();
    this.showLegend();
    this.showNote(this.look.marks.length);
    this.layers.draw();
  }

  // The marks of all points, in their present size.
  mark() {
    const count = this.shown.length / this.camera.dims;
    this.size = this.sizeNow(count);
    if (this.animation) this.look = this.animation.view.look(this.colours, this.size.radius);
    else this.look = look(this.labels, count, this.hidden, this.colours, this.size);
  }

  sizeNow(count) {
    const isSample = !this.animation && this.scene.mode !== "draw" && Boolean(this.points?.header.density);
    return sizeOf(count, this.camera.zoom, isSample);
  }

  showLegend() {
    const { kind, points, hidden } = this;
    const still = this.animation?.view.legend?.(this.animation.frame, this.colours);
    this.entries = still ?? [];
    if (this.labels && !this.animation) {
      const [given, none] = kind === "truth" ? [points.header.groups, points.header.unlabelled] : [this.labelling?.header.sizes, this.labelling?.header.noise];
      this.entries = rowsOf(sizesOf(this.labels, given, none), { kind, classes: points?.header.classes }, this.colours);
    }
    showLegend(this.legend, this.entries, hidden, still ? null : (label) => {
      if (!hidden.delete(label)) hidden.add(label);
      this.refresh();
    });
    this.legend.hidden = !this.legend.children.length;
  }

  showNote(count) {
    const { header } = this.points ?? {};
    const notes = [];
    if (this.animation?.data.note) notes.push(this.animation.data.note);
    else if (header?.note && this.scene.mode !== "draw") notes.push(header.note);
    this.note.textContent = notes.join(" ");
    this.note.hidden = !notes.length;
    const hint = this.scene.mode === "draw" && !count ? say("Draw points here: click for one, drag to spray many")
      : this.scene.mode === "centres" && !this.centres.points.length ? say("Click where the centres shall start")
      : !count && !this.scene.data && !this.animation && this.error.hidden ? say("Choose or draw data to begin") : "";
    this.layers.hint(hint, this.scene.mode === "centres");
    this.over.setAttribute("aria-label", say("Plot of {count} points", { count: count.toLocaleString("en-US") }));
  }

  showFrame(frame, share) {
    if (!this.animation) return;
    const { frames, view } = this.animation;
    const isNew = this.animation.frame !== frame || frames.at !== frame;
    this.animation.frame = frame;
    this.animation.share = share;
    if (!isNew) {
      this.layers.drawOver();
      return;
    }
    frames.seek(frame);
    this.player.say(view.sentence(frame));
    this.refresh();
  }

  // The hand has moved the camera.
  onMove() {
    this.layers.resize();
    const size = this.shown && this.sizeNow(this.look.marks.length);
    if (size && (size.radius !== this.size.radius || size.alpha !== this.size.alpha)) this.mark();
    this.layers.draw();
    this.bar.onMove();
  }

  // The hand has changed the points or centres that it puts there.
  onChange() {
    this.refresh();
    this.bar.update();
  }

  drawHints() {
    this.layers.drawOver();
  }

  // --- the hand -----------------------------------------------------------------------------------

  tool() {
    if (this.animation) return null;
    return { draw: this.spray, centres: this.centres }[this.scene.mode] ?? null;
  }

  isLassoing() {
    return this.lassos && !this.animation;
  }

  visible(at) {
    return this.look.marks[at] !== 65535;
  }

  hover(x, y) {
    let at = -1;
    if (x !== null && this.scene.mode !== "draw") {
      if (!this.animation) at = this.thumbs?.under(x, y) ?? -1;
      if (at < 0) at = nearest(this.layers.screen, (each) => this.visible(each), x, y);
    }
    this.over.classList.toggle("on-point", at >= 0);
    if (at === this.hovered) return;
    this.hovered = at;
    this.tip.show(at);
    this.layers.drawOver();
  }

  click(x, y) {
    this.hover(x, y); // a finger has no other way to ask
    if (!this.animation) this.thumbs?.open(this.hovered);
  }

  key(event) {
    if (event.key === "Escape" && this.selected) {
      this.select(null);
      return true;
    }
    return this.animation && !event.shiftKey ? this.player.key(event) : false;
  }

  lasso(path) {
    this.path = path;
    this.layers.drawOver();
  }

  // What lies within a closed line of pixels; null lets go of what was selected.
  select(path) {
    const had = this.selected;
    this.path = null;
    this.selected = path ? inside(path, this.layers.screen).filter((at) => this.visible(at)) : null;
    if (this.selected || had) {
      const rows = (this.selected || []).map((at) => this.rows?.[at] ?? at);
      this.trigger("select", { rows });
      this.bar.update();
      this.layers.drawOver();
    }
  }

  // For tests.
  state() {
    return stateOf(this);
  }

  // Where a point of the data lies on the page, for tests.
  pixel(...place) {
    const box = this.over.getBoundingClientRect();
    const [x, y] = this.camera.point(...place);
    return [box.left + x, box.top + y];
  }
}

function together(one, other) {
  return one.map((value, at) => (at % 2 ? Math.max : Math.min)(value, other[at]));
}
