// What a proxy before the studio changes: the page's address, and whose answers come back.
(() => {
  const tables = SENTENCES;
  const sentences = tables[(navigator.language || "en").split("-")[0]] || tables.en;
  const config = window.gradio_config;
  const here = new URL("./", document.baseURI);
  const expected = new URL(config.root || "/", here).pathname.replace(/\/*$/, "/");
  config.root = here.href.replace(/\/$/, "");

  // Above the page, once: without these lines nothing would say why it does not work.
  const told = new Set();
  function tell(sentence) {
    if (told.has(sentence)) return;
    told.add(sentence);
    const note = document.createElement("p");
    note.setAttribute("role", "alert");
    note.className = "proxy-note";
    note.textContent = sentence;
    document.body.prepend(note);
  }

  if (here.pathname !== expected && here.pathname !== "/")
    document.addEventListener("DOMContentLoaded", () =>
      tell(sentences.path.replaceAll("PATH", here.pathname.replace(/\/$/, ""))));

  const request = window.fetch;
  window.fetch = async (...wanted) => {
    const reply = await request(...wanted);
    if (reply.ok) return reply;
    const path = new URL(reply.url || here, here).pathname;
    const forGradio = path.includes("/gradio_api/");
    const type = reply.headers.get("content-type") || "";
    if (path.endsWith("/gradio_api/upload") && type.startsWith("application/json")) {
      // Gradio shows the text of an upload's failure as it is: the sentence alone.
      const answer = await reply.clone().json().catch(() => ({}));
      const words = { status: reply.status, headers: { "content-type": "text/plain; charset=utf-8" } };
      if (answer.error?.message) return new Response(answer.error.message, words);
    }
    if (reply.status === 403 && forGradio && type.startsWith("application/json")) {
      // As where a proxy has changed the address. Gradio shows nothing of it.
      const answer = await reply.clone().json().catch(() => ({}));
      if (answer.error?.message) tell(answer.error.message);
    }
    // The studio answers requests of this page with data, refusals included. A failure that comes
    // as a page is a proxy's.
    if (!/^text\/html\b/.test(type)) return reply;
    const sentence = reply.status === 413
      ? sentences.refused
      : sentences.away.replace("STATUS", reply.status);
    // Gradio shows the text of an upload's failure as it is.
    const body = forGradio ? sentence : JSON.stringify({ error: { message: sentence, type: "proxy" } });
    const headers = { "content-type": forGradio ? "text/plain; charset=utf-8" : "application/json" };
    return new Response(body, { status: reply.status, headers });
  };
})();
