// Live painting, of studio/page/components/live.py: asks for a picture while the switch is on and the
// settings change. Runs with Gradio's `element` and `trigger`; before it stand NAME, the switch's
// own, DRAWINGS, the names of the canvases that it follows, and SEEDS, how many there are.
//
// One wish is on its way at a time; what changes meanwhile is asked for once it is answered.

const RANDOM = -1; // a seed to be drawn
const AGAIN_MS = 300; // until a wish is sent again that had to wait for others

const box = element.closest(".live");
let on = false;
let asked = false; // whether a wish is on its way
let changed = false; // whether anything has changed since it was sent
let timer = 0;

function ask() {
  clearTimeout(timer);
  if (!on) return;
  changed = asked;
  if (asked) return;
  asked = true;
  trigger("changed");
}

(window.atelierLive ||= {})[NAME] = {
  onChange: ask,
  turn(to) {
    on = to;
    asked = changed = false; // a wish that was never answered keeps no newer one waiting
    box.classList.toggle("on", on);
    ask();
  },
  // What the field `name` is to show as the seed when it is turned on or off: one for all pictures,
  // and after them again what was there before.
  seedFor(to, seed, name, unchanged) {
    if (!to) {
      this.turn(false); // before the seed changes, which is no wish then
      return atelier.drafts.isPassing(name, seed) ? RANDOM : unchanged;
    }
    if (seed >= 0) return unchanged;
    const drawn = Math.floor(Math.random() * SEEDS);
    atelier.drafts.pass(name, drawn, RANDOM);
    return drawn;
  },
  // `words`: what is now said beside the picture; `name`: of the seed's field.
  onAnswer(words, name) {
    asked = false;
    const drawn = /data-seed="(\d+)"/.exec(words);
    if (drawn) atelier.drafts.pass(name, Number(drawn[1]), RANDOM);
    if (changed) ask();
    else if (words.includes("live-words again")) timer = setTimeout(ask, AGAIN_MS);
  },
  // Whether a drawing should be sent before its stroke has ended.
  follows: (drawing) => on && !asked && DRAWINGS.includes(drawing),
  replaces: (drawing) => on && DRAWINGS.includes(drawing),
};
