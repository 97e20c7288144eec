// Words that a person has typed are kept by the browser, for each person and field: a reload or a new
// start of the studio loses none of them. Each tab of the browser has its own words; a new tab begins
// with what was typed last and not sent.
//
// A field is a text box of the class "draft"; its words are kept under its elem_id. The page fills it
// from the last request and then asks restore() what to show.

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

  function keep(name, text) {
    write(sessionStorage, name, text);
    write(localStorage, name, text);
  }

  function sent(name, text) {
    write(sessionStorage, name, text);
    forgetUnsent(name, text);
  }

  atelier.drafts = { restore, keep, sent };

  document.addEventListener("input", (event) => {
    const name = event.target.closest(".draft")?.id;
    if (name) keep(name, event.target.value);
  });
  addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (button?.closest(".actions")) used = true;
    if (!button?.matches(".primary")) return;
    for (const field of button.closest(".bench")?.querySelectorAll(".draft") || []) sent(field.id, field.querySelector("textarea, input").value);
  }, true);
  // Whoever uses this browser next finds nothing.
  document.addEventListener("submit", (event) => {
    if (!event.target.matches('form[action="logout"]')) return;
    for (const storage of [sessionStorage, localStorage]) {
      for (const key of Object.keys(storage)) if (key.includes(`:${atelier.person}:`)) storage.removeItem(key);
    }
  }, true);
})();
