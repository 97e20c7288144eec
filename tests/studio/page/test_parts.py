"""The page in parts: each tab comes when it is opened, and no component or listener is lost."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pipelines.core.errors import NotFound
from studio.core.feature import Feature, Features, Tab
from studio.page import parts, shell
from studio.page.parts import split_config


class Begin(Tab):
    id, label = "begin", "Begin"

    def draw(self):
        self.words = gr.Textbox(elem_id="words")
        self.said = gr.Textbox("said", elem_id="said")
        self.button = gr.Button("Go", elem_id="go")

    def listen(self, events, exchange):
        events.load(lambda: "", None, self.words)
        exchange.offer("word", lambda route: self.button.click(print, None, route.outputs))


class Inner(Tab):
    id, label, group = "inner", "Inner", "Some"

    def draw(self):
        self.taken = gr.Textbox(elem_id="taken")
        self.shown = gr.Textbox(elem_id="shown")

    def listen(self, events, exchange):
        state = gr.State(0)
        exchange.take("word", SimpleNamespace(outputs=[self.taken, state], inputs=[]))
        first = events.load(print, state, self.shown)
        first.then(print, None, self.shown).then(print, self.taken, None)
        events.tab.select(print, None, self.shown)
        events.page.load(print, None, self.shown)
        state.change(print, None, self.shown)


class Outer(Tab):
    id, label, group = "outer", "Outer", "Some"

    def draw(self):
        gr.Number(elem_id="number")


@pytest.fixture(scope="module")
def page():
    tabs = [Feature(name=tab.id, tabs=(tab,)) for tab in (Begin, Inner, Outer)]
    return shell.build(SimpleNamespace(features=Features(tabs)))


@pytest.fixture(scope="module")
def whole(page) -> dict:
    return page.get_config_file()


@pytest.fixture(scope="module")
def split(page, whole) -> parts.Split:
    return split_config(whole, page.first_sights, page.fills)


def names(components: list[dict]) -> set[str]:
    return {name for each in components if (name := each["props"].get("elem_id"))}


def test_the_page_comes_with_its_first_tab_and_the_bars_of_all(split):
    first = names(split.config["components"])
    assert first == {"header", "tabs", "tabs-of-some", "words", "said", "go"}
    assert {tab: names(part["components"]) for tab, part in split.parts.items()} == {
        "inner": {"taken", "shown"},
        "outer": {"number"},
    }
    assert split.config["page"][""]["layout"] == split.config["layout"]


def listeners_of(config: dict, whole: dict) -> list[tuple]:
    """What each listener waits for: a name of a component and of an event, or "then"."""
    known = {each["id"]: each for each in whole["components"]}

    def target(id: int | None) -> str:
        part = known.get(id, {"type": "page", "props": {}})
        return part["props"].get("elem_id") or part["type"]

    return [
        ("then" if event["trigger_after"] is not None else target(event["targets"][0][0]),
         event["targets"][0][1])
        for event in config["dependencies"]
    ]  # fmt: skip


def test_listeners_come_with_what_they_wait_for(split, whole):
    assert sorted(listeners_of(split.config, whole), key=str) == sorted(
        [
            *[("page", "load")] * 3,  # the header, the first sight of the first tab, the page's
            ("timer", "tick"),
            ("go", "click"),
            ("tabitem", "select"),
        ],
        key=str,
    )
    inner = listeners_of(split.parts["inner"], whole)
    assert inner == [("page", "load"), ("then", "then"), ("then", "then"), ("state", "change")]
    assert split.parts["outer"]["dependencies"] == []


def test_nothing_is_lost_or_sent_twice(split, whole):
    sent = [split.config, *split.parts.values()]
    for kind in ("components", "dependencies"):
        ids = sorted(each["id"] for part in sent for each in part[kind])
        assert ids == sorted(each["id"] for each in whole[kind])


def test_what_others_name_is_known_to_be_of_its_tab(split, whole):
    ids = {each["props"].get("elem_id"): each["id"] for each in whole["components"]}
    (state,) = (each["id"] for each in whole["components"] if each["type"] == "state")
    # The button of the first tab fills what was taken; the page and the bar set what is shown.
    assert split.config["part_of"] == {str(ids[name]): "inner" for name in ("taken", "shown")}
    assert split.config["states"] == {str(state): "inner"}
    own = set(split.config["parts"]["begin"]["listeners"])
    targets = listeners_of(
        {"dependencies": [each for each in whole["dependencies"] if each["id"] in own]}, whole
    )
    assert sorted(targets) == [("go", "click"), ("page", "load")]


def test_what_can_be_changed_is_told_as_gradio_finds_it_out_with_all_listeners(split):
    shown = {
        each["props"]["elem_id"]: each["props"]["interactive"]
        for part in (split.config, *split.parts.values())
        for each in part["components"]
        if each["type"] in ("textbox", "number")
    }
    assert shown == {
        "words": False,  # a listener gives it its value, and none asks for it
        "said": False,  # it has one
        "taken": True,  # a listener asks for its value
        "shown": False,
        "number": True,  # it is empty, and nobody fills it
    }


def test_a_part_is_sent_once_and_others_are_not_there():
    app = FastAPI()
    app.state.parts = {"chat": b'{"components":[]}'}
    app.include_router(parts.router)
    client = TestClient(app)
    answer = client.get("/tabs/chat.json")
    assert answer.json() == {"components": []}
    again = client.get("/tabs/chat.json", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    with pytest.raises(NotFound, match=r"nothing at /tabs/nowhere\.json"):
        client.get("/tabs/nowhere.json")


def test_the_page_stays_whole_where_gradio_s_script_is_another_one(page, whole, monkeypatch):
    monkeypatch.setattr(parts, "can_graft", lambda: False)
    mounted = SimpleNamespace(config=whole)
    assert parts.take_parts(mounted) == {}
    assert mounted.config is whole
