// What a proxy before the studio changes: the page's address, and whose answers come back.
(() => {
  const tables = SENTENCES;
  const sentences = tables[(navigator.language || "en").split("-")[0]] || tables.en;
  const config = window.gradio_config;
  const here = new URL("./", document.baseURI);
  const expected = new URL(config.root || "/", here).pathname.replace(/\/*$/, "/");
  config.root = here.href.replace(/\/$/, "");

  if (here.pathname !== expected && here.pathname !== "/")
    document.addEventListener("DOMContentLoaded", () => {
      const note = document.createElement("p");
      note.setAttribute("role", "alert");
      note.className = "proxy-note";
      note.textContent = sentences.path.replaceAll("PATH", here.pathname.replace(/\/$/, ""));
      document.body.prepend(note);
    });

  // The studio answers requests of this page with data, refusals included. A failure that comes as
  // a page is a proxy's.
  const request = window.fetch;
  window.fetch = async (...wanted) => {
    const reply = await request(...wanted);
    if (reply.ok || !/^text\/html\b/.test(reply.headers.get("content-type") || "")) return reply;
    const sentence = reply.status === 413
      ? sentences.refused
      : sentences.away.replace("STATUS", reply.status);
    // Gradio shows the text of an upload's failure as it is.
    const forGradio = new URL(reply.url || here, here).pathname.includes("/gradio_api/");
    const body = forGradio ? sentence : JSON.stringify({ error: { message: sentence, type: "proxy" } });
    const type = forGradio ? "text/plain; charset=utf-8" : "application/json";
    return new Response(body, { status: reply.status, headers: { "content-type": type } });
  };
})();
