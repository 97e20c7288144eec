// A number that a slider sets roughly, and that can be typed exactly, also beyond the slider's ends.
// It triggers "release" when it has been set, by pointer, keys or typing; Gradio's own does not by
// keys. The server puts before this GIVEN: title by language, how the slider is called, least, most,
// step (null: it goes by powers of ten).

const STEPS_A_POWER = 20; // of ten; each is 12 %
const language = (navigator.language || "en").split("-")[0];
const typed = element.querySelector("input[type=number]"), slider = element.querySelector("input[type=range]");
const byPowers = GIVEN.step === null;
const place = (value) => byPowers ? Math.log10(Math.max(value, GIVEN.least)) * STEPS_A_POWER : value;
const valueAt = (at) => byPowers ? Number((10 ** (at / STEPS_A_POWER)).toPrecision(2)) : at;

function slide(value) {
  slider.value = place(value);
  const share = (slider.value - slider.min) / (slider.max - slider.min);
  slider.style.setProperty("--done", `${100 * share}%`);
  slider.setAttribute("aria-valuetext", value.toLocaleString(language));
}

function show() {
  if (typed.value === "" || Number(typed.value) !== props.value) typed.value = props.value;
  slide(props.value);
}

const [title, called] = GIVEN.titles[language] || GIVEN.titles.en;
element.querySelector("span").textContent = title;
slider.setAttribute("aria-label", called);
slider.min = place(GIVEN.least);
slider.max = place(GIVEN.most);
typed.step = slider.step = GIVEN.step ?? 1;
slider.addEventListener("input", () => {
  typed.value = props.value = valueAt(Number(slider.value));
  slide(props.value);
});
typed.addEventListener("input", () => {
  if (typed.value === "") return;
  props.value = Number(typed.value);
  slide(props.value);
});
slider.addEventListener("change", () => trigger("release"));
typed.addEventListener("change", () => {
  show(); // again what it was, if it was emptied
  trigger("release");
});
watch("value", show);
show();
