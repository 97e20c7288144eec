// Tells those who cannot see the page that a job on a board has ended: the words of its element of
// the class "announced", in a live region of the page.

(() => {
  const region = document.createElement("div");
  region.id = "announcer";
  region.setAttribute("role", "status");
  document.addEventListener("DOMContentLoaded", () => document.body.append(region));
  const running = new WeakSet();

  // To be called whenever a board has been drawn.
  atelier.announce = (board) => {
    if (board.querySelector('[role="progressbar"]')) {
      running.add(board);
      return;
    }
    if (!running.delete(board)) return; // it shows what was there before the page
    const words = [...board.querySelectorAll(".announced, .error")].map((each) => each.dataset.announced || each.textContent);
    region.textContent = words.join(" ");
  };
})();
