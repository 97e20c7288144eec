// What stands above the plot: how points are coloured, the tools of drawing, zoom, selection, export.

import { h, say } from "../../page.js";
import { savePlot } from "../saving.js";
import { choice, formatCount, tool } from "../parts.js";

export class Bar {
  constructor(plot) {
    this.plot = plot;
    this.left = h("div", { class: "left" });
    this.shows = h("span", { class: "shows", hidden: true });
    this.turns = h("span", { class: "turns" });
    this.selection = h("span", { class: "selection", hidden: true });
    this.lasso = tool("lasso", say("Select points: draw around them (or drag with Shift)"), () => {
      plot.lassos = !plot.lassos;
      plot.layers.resize();
      this.update();
    });
    this.whole = tool("whole", say("Show everything"), () => this.move(() => plot.camera.home()));
    const menu = h("details", { class: "save" }, h("summary", { class: "tool", title: say("Save the picture"), "aria-label": say("Save the picture") }));
    menu.firstElementChild.append(...tool("save", "", null).childNodes);
    menu.append(
      h("div", { class: "menu" }, ...["PNG", "SVG"].map((name) =>
        h("button", { type: "button", onclick: () => { menu.open = false; savePlot(plot, name.toLowerCase()); } }, name))),
    );
    menu.addEventListener("focusout", (event) => {
      if (!menu.contains(event.relatedTarget)) menu.open = false;
    });
    const right = h(
      "div",
      { class: "right" },
      this.lasso,
      h(
        "span",
        { class: "zooms" },
        tool("farther", say("Zoom out"), () => this.move(() => plot.camera.zoomAt(1 / 1.4))),
        tool("closer", say("Zoom in"), () => this.move(() => plot.camera.zoomAt(1.4))),
      ),
      this.whole,
      menu,
    );
    this.element = h("div", { class: "bar", role: "toolbar", "aria-label": say("Plot") }, this.left, this.shows, this.turns, this.selection, right);
  }

  move(act) {
    act();
    this.plot.onMove();
  }

  onMove() {
    this.whole.disabled = !this.plot.camera.moved;
  }

  update() {
    const { plot } = this;
    const mode = plot.animation ? "animation" : plot.scene.mode;
    const both = mode === "view" && plot.labelling && plot.points?.truth;
    const onlyTruth = mode === "view" && !plot.labelling && plot.points?.truth;
    const inked = mode === "view" && plot.labelling?.header.inks;
    const kind = mode === "draw" || mode === "centres" ? mode : both ? "both" : onlyTruth ? "truth" : inked ? "inked" : "";
    if (this.kind !== kind) {
      this.kind = kind;
      this.left.replaceChildren(...this.tools(kind));
    }
    this.lasso.hidden = mode !== "view";
    this.lasso.setAttribute("aria-pressed", String(plot.lassos));
    if (kind === "draw") {
      this.clear.disabled = !plot.spray.points.length;
      this.undo.disabled = !plot.spray.before.length;
      this.brush.setAttribute("aria-pressed", String(!plot.spray.erases));
      this.eraser.setAttribute("aria-pressed", String(plot.spray.erases));
      this.drawn.textContent = say("{count} points", { count: formatCount(plot.spray.points.length) });
    } else if (kind === "centres") {
      this.clear.disabled = this.undo.disabled = !plot.centres.points.length;
      this.drawn.textContent = say("{count} centres", { count: plot.centres.points.length });
    }
    // Whose clusters these are: beside it may be chosen another algorithm by now.
    const shown = mode === "view" && plot.labelling?.header.algorithm;
    this.shows.textContent = shown ? say(plot.titles[shown] ?? shown) : "";
    this.shows.hidden = !shown;
    this.offerTurns(mode);
    this.showSelection();
    this.onMove();
  }

  // The ways back to drawing and to placing centres, where the data and the algorithm have them.
  offerTurns(mode) {
    const { sketch, own } = this.plot.scene;
    const turns = [];
    if (sketch && mode !== "draw") turns.push(["draw", say("Go on drawing")]);
    if (own && mode !== "centres") turns.push(["centres", say("Place centres")]);
    const key = turns.join();
    if (this.turnsShown === key) return;
    this.turnsShown = key;
    this.turns.replaceChildren(...turns.map(([turn, title]) =>
      h("button", { type: "button", class: "turn", "data-mode": turn, onclick: () => this.plot.trigger("mode", { mode: turn }) }, title)));
    this.turns.hidden = !turns.length;
  }

  showSelection() {
    const { plot } = this;
    this.selection.hidden = !plot.selected;
    if (!plot.selected) return;
    const words = plot.points?.header.points > plot.points?.header.shown
      ? say("{count} of the drawn points selected", { count: formatCount(plot.selected.length) })
      : say("{count} points selected", { count: formatCount(plot.selected.length) });
    this.selection.replaceChildren(words, h("button", { type: "button", title: say("Select nothing"), "aria-label": say("Select nothing"), onclick: () => plot.select(null) }, "×"));
  }

  tools(kind) {
    const { plot } = this;
    const by = (options) => choice(say("Colour by"), options, plot.by, (value) => {
      plot.by = value;
      plot.hidden.clear();
      plot.refresh();
    });
    if (kind === "both") return [by([["clusters", say("By cluster")], ["truth", say("By true group")]])];
    if (kind === "truth") return [by([["clusters", say("Plain")], ["truth", say("By true group")]])];
    if (kind === "inked") {
      return [choice(say("Colour by"), [["own", say("Their own colours")], ["clusters", say("By cluster")]], plot.own ? "own" : "clusters", (value) => {
        plot.own = value === "own";
        plot.refresh();
      })];
    }
    if (!kind) return [];
    const hand = kind === "draw" ? plot.spray : plot.centres;
    this.undo = tool("undo", say("Undo"), () => hand.undo());
    this.clear = tool("clear", say("Clear"), () => hand.clear());
    this.drawn = h("span", { class: "drawn" });
    if (kind === "centres") return [this.undo, this.clear, this.drawn];
    const wield = (erases) => () => {
      hand.erases = erases;
      this.update();
    };
    this.brush = tool("brush", say("Brush: click for one point, drag for many"), wield(false));
    this.eraser = tool("eraser", say("Eraser"), wield(true));
    const size = h("input", { type: "range", min: 8, max: 70, step: 1, value: hand.size, title: say("Size of the brush"), "aria-label": say("Size of the brush") });
    const setSize = () => {
      hand.size = Number(size.value);
      size.style.setProperty("--done", `${(100 * (hand.size - size.min)) / (size.max - size.min)}%`);
    };
    size.addEventListener("input", setSize);
    setSize();
    return [this.brush, this.eraser, size, this.undo, this.clear, this.drawn];
  }
}
