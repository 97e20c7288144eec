"""The scripts that are sent changed do in the browser what Gradio's own do."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser

from studio.page.gradio_script import (
    ATTACHED_EVENTS,
    BUILT_ONCE,
    COMPILED_LATER,
    SEARCH,
    Change,
    changed_scripts,
)
from tests.patience import wait_until

# Both over random listeners: some name a component twice, some without an event.
COMPARE_EVENTS = """([before, after]) => {
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
# Both over random trees, which lose, move and gain branches between two searches.
COMPARE_SEARCH = """([before, after]) => {
  const searches = [before, after].map((text) => eval(`(() => {${text}; return Z})()`));
  const random = (most) => Math.floor(most * Math.random());
  const found = [];
  for (let round = 0; round < 100; round++) {
    let id = 0;
    const grown = (depth) => ({
      id: id++,
      ...(depth ? { children: Array.from({ length: random(4) }, () => grown(depth - 1)) } : {}),
    });
    let tree = grown(4);
    for (let step = 0; step < 12; step++) {
      for (const asked of [random(id + 3), null, undefined, String(random(id))]) {
        const nodes = searches.map((search) => search(tree, asked));
        found.push([nodes[0] === nodes[1], nodes[0] !== null]);
      }
      const changed = searches[0](tree, random(id));
      if (changed?.children) {
        [() => changed.children.shift(), () => changed.children.reverse(),
         () => (changed.children = []), () => changed.children.unshift(grown(2)),
         () => (tree = structuredClone(tree))][random(5)]();
      }
    }
  }
  return found;
}"""
# What a listener's JavaScript answers to two arguments.
COMPARE_CODE = """async ([before, after, sources]) => {
  const L = async function () {}.constructor;
  const rest = "return typeof r==='function'?await r(...e):n?void 0:r}}";
  const makers = [before, after].map((text) => eval(`(() => {${text}${rest}; return z})()`));
  const answers = async (make, source) => {
    try {
      const listener = make(source);
      return JSON.stringify([await listener(1, 2), await listener(3, 4)]);
    } catch (error) {
      return error.name;
    }
  };
  return Promise.all(sources.map(
    (source) => Promise.all(makers.map((make) => answers(make, source)))));
}"""
SOURCES = {
    "(a, b) => [b, a]": "[[2,1],[4,3]]",
    "async (a, b) => a + b;\n": "[3,7]",
    "function one() { return arguments.length }": "[2,2]",
    "const late = 7; return late": "[7,7]",
    "() => { throw new RangeError() }": "RangeError",
    "() => {": "SyntaxError",
}
# How often the page is built when its effect runs three times.
COUNT_BUILDS = """(text) => {
  let builds = 0, effect;
  const O = { reload: () => builds++ }, v = () => 0, oe = (run) => run();
  const le = (run) => { effect = run; };
  eval(`${text})})})`);
  [1, 2, 3].forEach(() => effect());
  return builds;
}"""


def both(change: Change) -> list[str]:
    return [change.before, change.after]


@pytest.fixture(scope="module")
def blank(browser: Browser):
    page = browser.new_page()
    yield page
    page.close()


def test_the_index_of_listeners_answers_as_the_search_does(blank):
    found = blank.evaluate(COMPARE_EVENTS, both(ATTACHED_EVENTS))
    assert len(found) == 200 * 2 * 7
    assert all(before == after for before, after in found)
    assert any(before != "[]" for before, _ in found)


def test_a_component_is_found_as_by_the_search(blank):
    found = blank.evaluate(COMPARE_SEARCH, both(SEARCH))
    assert len(found) == 100 * 12 * 4
    assert all(same for same, _ in found)
    assert 0 < sum(is_there for _, is_there in found) < len(found)


def test_code_that_is_compiled_later_answers_the_same(blank):
    found = blank.evaluate(COMPARE_CODE, [*both(COMPILED_LATER), list(SOURCES)])
    assert found == [[answer, answer] for answer in SOURCES.values()]


def test_the_page_is_not_built_again_before_a_reload(blank):
    assert [blank.evaluate(COUNT_BUILDS, text) for text in both(BUILT_ONCE)] == [3, 2]


# How many frames the page asks for in a quarter of a second.
COUNT_FRAMES = """() => new Promise((done) => {
  const own = window.requestAnimationFrame;
  let frames = 0;
  window.requestAnimationFrame = (draw) => (frames++, own.call(window, draw));
  setTimeout(() => { window.requestAnimationFrame = own; done(frames); }, 250);
})"""


def test_the_page_loads_the_changed_scripts_and_draws_nothing_when_nothing_happens(visit):
    page = visit(path="?tab=paint")
    page.fill("#prompt textarea", "a mug")
    loaded = page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
    changed = changed_scripts()
    scripts = [url for url in loaded if url.rpartition("/")[2] in changed]
    assert len(scripts) == len(changed) == 4
    for url in scripts:
        answer = page.request.get(url)
        assert answer.text() == changed[url.rpartition("/")[2]]
        assert re.match("text/javascript", answer.headers["content-type"])
        tag = {"if-none-match": answer.headers["etag"]}
        assert page.request.get(url, headers=tag).status == 304
    wait_until(lambda: page.evaluate(COUNT_FRAMES) == 0)
