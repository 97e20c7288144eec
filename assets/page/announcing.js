// Tells those who cannot see the page that a job in a panel has ended, in a live region of the page.

(() => {
  const region = document.createElement("div");
  region.id = "announcer";
  region.setAttribute("role", "status");
  document.addEventListener("DOMContentLoaded", () => document.body.append(region));
  const running = new WeakSet(); // panels that show progress, and tabs whose button has been pressed
  addEventListener("click", (event) => {
    const button = event.target.closest?.("button.primary");
    if (button) running.add(button.closest(".workspace") || button);
  }, true);

  // To be called whenever a panel shows other HTML.
  atelier.announce = (panel, html) => {
    if (html.includes('role="progressbar"')) {
      running.add(panel);
      return;
    }
    const ended = [panel, panel.closest(".workspace")].filter((each) => running.delete(each));
    if (!ended.length) return; // it shows what was there before the page
    const shown = new DOMParser().parseFromString(html, "text/html");
    if (shown.querySelector(".error")) return; // an alert, which speaks for itself
    const words = shown.querySelector(".announced") || shown.querySelector(".summary");
    region.textContent = words?.textContent || atelier.finished;
  };
})();
