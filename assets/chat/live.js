// Follows the answers of a conversation while they are written.

import { address } from "./page.js";

export class AnswerEvents {
  // on: begin() when they are told from their beginning, news(list), end(), lost().
  constructor(on) {
    this.on = on;
    this.source = null;
    this.id = null;
  }

  start(id) {
    if (this.id === id && this.source) return;
    this.stop();
    this.id = id;
    this.source = new EventSource(address(`chats/${encodeURIComponent(id)}/events`));
    this.source.onopen = () => this.on.begin();
    this.source.onmessage = (event) => this.on.news(JSON.parse(event.data));
    this.source.addEventListener("end", () => {
      this.stop();
      this.on.end();
    });
    // The browser connects again by itself, unless the studio refuses.
    this.source.onerror = () => this.source?.readyState === EventSource.CLOSED && this.on.loss();
  }

  stop() {
    this.source?.close();
    this.source = null;
    this.id = null;
  }
}
