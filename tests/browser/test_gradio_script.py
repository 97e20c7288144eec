"""The script that is sent changed does in the browser what Gradio's own does."""

from __future__ import annotations

import re

from playwright.sync_api import Browser

from studio.page.gradio_script import INDEXED, SEARCH

# Both over random listeners: some name a component twice, some without an event.
COMPARE = """([before, after]) => {
  const [Before, After] = [before, after].map((method) => eval(`(class {${method}})`));
  const random = (most) => Math.floor(most * Math.random());
  const found = [];
  for (let round = 0; round < 200; round++) {
    const target = () => [random(6), [null, "click", "input", "change"][random(4)]];
    const one = () => ({ targets: Array.from({ length: random(5) }, target) });
    const listeners = Array.from({ length: random(8) }, one);
    const asked = [new Before(), new After()];
    for (const length of [listeners.length, listeners.push(one())]) {  // one more comes later
      for (let id = 0; id < 7; id++) {
        found.push(asked.map((each) => {
          const node = { id, props: { shared_props: {} } };
          each.find_attached_events(node, listeners);
          return JSON.stringify(node.props.shared_props.attached_events);
        }));
      }
    }
  }
  return found;
}"""


def test_the_index_answers_as_the_search_does(browser: Browser):
    page = browser.new_page()
    found = page.evaluate(COMPARE, [SEARCH, INDEXED])
    page.close()
    assert len(found) == 200 * 2 * 7
    assert all(before == after for before, after in found)
    assert any(before != "[]" for before, _ in found)


def test_the_page_loads_the_changed_script(visit):
    page = visit(path="?tab=paint")
    page.fill("#prompt textarea", "a mug")
    script = page.evaluate(
        "performance.getEntriesByType('resource').map(each => each.name)"
        ".filter(name => /assets\\/core-.*js$/.test(name))"
    )
    assert len(script) == 1
    answer = page.request.get(script[0])
    assert INDEXED in answer.text()
    assert re.match("text/javascript", answer.headers["content-type"])
    tag = {"if-none-match": answer.headers["etag"]}
    assert page.request.get(script[0], headers=tag).status == 304
