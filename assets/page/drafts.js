// Words that a person has typed are kept by the browser, for each person and field: a reload or a new
// start of the studio loses none of them. Each tab of the browser has its own words; a new tab begins
// with what was typed last and not sent.
//
// A field is a text box of the class "draft"; its words are kept under its elem_id. The page fills it
// from the last request and then asks restore() what to show. The chat keeps its own by keep().

(() => {
  const OF = `atelier-draft:${atelier.person}:`;
  let used = false; // whether this page has put the settings of a picture in the place of others

  function write(storage, name, text) {
    try {
      storage.setItem(OF + name, text);
    } catch {} // there is no room: then they live in the page alone
  }

  function forgetUnsent(name, text) {
    if (localStorage.getItem(OF + name) === text) localStorage.removeItem(OF + name);
  }

  // The text to show where the last request had `text`.
  function restore(name, text) {
    if (used) return text;
    return sessionStorage.getItem(OF + name) ?? localStorage.getItem(OF + name) ?? text;
  }

  const restored = new Set();

  // As restore(), once a page: later it is the server that has something new to show.
  function restoreOnce(name, text) {
    if (restored.has(name)) return text;
    restored.add(name);
    return restore(name, text);
  }

  // What was typed is sent or given up, and shown nowhere any more.
  function forget(name) {
    for (const storage of [sessionStorage, localStorage]) storage.removeItem(OF + name);
  }

  function keep(name, text) {
    write(sessionStorage, name, text);
    write(localStorage, name, text);
  }

  // A value of this tab of the browser alone, such as a seed: a new tab begins without it.
  function keepHere(name, value) {
    if (!isPassing(name, value)) write(sessionStorage, name, JSON.stringify(value));
  }

  // Of a field that shows `value` only for now, `instead` is kept.
  const passing = new Map();
  function pass(name, value, instead) {
    passing.set(name, value);
    write(sessionStorage, name, JSON.stringify(instead));
  }

  function isPassing(name, value) {
    return passing.has(name) && passing.get(name) === value;
  }

  function restoreHere(name, otherwise) {
    const kept = used ? null : sessionStorage.getItem(OF + name);
    return kept === null ? otherwise : JSON.parse(kept);
  }

  function noteSent(name, text) {
    write(sessionStorage, name, text);
    forgetUnsent(name, text);
  }

  atelier.drafts = { restore, restoreOnce, keep, keepHere, restoreHere, pass, isPassing, noteSent, forget };

  document.addEventListener("input", (event) => {
    const name = event.target.closest(".draft")?.id;
    if (name) keep(name, event.target.value);
  });
  addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (button?.closest(".actions")) used = true;
    if (!button?.matches(".primary")) return;
    for (const field of button.closest(".workspace")?.querySelectorAll(".draft") || []) noteSent(field.id, field.querySelector("textarea, input").value);
  }, true);
  // Whoever uses this browser next finds nothing.
  document.addEventListener("submit", (event) => {
    if (!event.target.matches('form[action="logout"]')) return;
    for (const storage of [sessionStorage, localStorage]) {
      for (const key of Object.keys(storage)) if (key.includes(`:${atelier.person}:`)) storage.removeItem(key);
    }
  }, true);
})();
