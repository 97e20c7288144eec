"""What any client can post to the page's own queue, whose controls check nothing themselves."""

from __future__ import annotations

import html
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.patience import PATIENCE
from tests.studio.api.test_api import BAD
from tests.studio.live import live_studio, options_for, page_config, paint, settings

QUEUE = "/gradio_api/queue"
ERROR = re.compile(r'<div class="error" role="alert">(.*?)</div>', re.DOTALL)


class Browser:
    """Presses the button that paints, as the page in a browser does."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.session = secrets.token_hex(5)
        config = page_config(client)
        props = {each["id"]: each["props"] for each in config["components"]}
        self.button = next(id for id, each in props.items() if each.get("elem_id") == "paint")
        submit = next(
            each
            for each in config["dependencies"]
            if [self.button, "click"] in each["targets"] and each["inputs"]
        )
        follow = next(
            each for each in config["dependencies"] if each["trigger_after"] == submit["id"]
        )
        self.submit, self.follow = submit["id"], follow["id"]
        shown = [props[id].get("elem_id") for id in follow["outputs"]]
        self.panel = shown.index("paint-panel")
        self.states = [None] * len(follow["inputs"])  # the server keeps them
        self.values = {props[id]["elem_id"]: props[id].get("value") for id in submit["inputs"]}

    def paint(self, **changes: Any) -> str:
        """The panel after the button was pressed with these settings."""
        changed = {name.replace("_", "-"): value for name, value in settings(**changes).items()}
        assert changed.keys() <= self.values.keys()
        self.post(self.submit, list((self.values | changed).values()))
        return self.post(self.follow, self.states)[self.panel]

    def post(self, event: int, data: list[Any]) -> list[Any]:
        """What an event has put into its outputs at first; later it sends what has changed."""
        body = {
            "data": data,
            "fn_index": event,
            "trigger_id": self.button,
            "session_hash": self.session,
        }
        answer = self.client.post(f"{QUEUE}/join", content=json.dumps(body))  # NaN and all
        assert answer.status_code == 200, answer.text
        query = {"session_hash": self.session}
        with self.client.stream("GET", f"{QUEUE}/data", params=query) as stream:
            first = None
            for line in stream.iter_lines():
                said = json.loads(line.removeprefix("data:") or "{}")
                if first is None and said.get("msg") == "process_generating":
                    first = said["output"]["data"]
                if said.get("msg") == "process_completed":
                    assert said["success"], said
                    return said["output"]["data"] if first is None else first
        raise AssertionError("the stream has ended before the event")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, twin_home) -> Iterator[Browser]:
    options = options_for(tmp_path_factory.mktemp("queue"), twin_home)
    with live_studio(options) as (_, address):
        # The page's scripts name the type of what they send.
        headers = {"content-type": "application/json"}
        with httpx.Client(base_url=address, timeout=PATIENCE, headers=headers) as client:
            yield Browser(client)


# The page has no control for a setting that does not exist.
@pytest.mark.parametrize("what", sorted(BAD.keys() - {"unknown setting"}))
def test_bad_value_gets_one_sentence_on_the_panel_and_the_server_goes_on(browser, what: str):
    changes, expected = BAD[what]
    (said,) = ERROR.findall(browser.paint(**changes))
    assert expected in html.unescape(said)
    assert "Traceback" not in said
    assert browser.client.get("/api/v1/health").status_code == 200
    assert browser.client.get("/api/v1/jobs").json()["jobs"] == []


def test_after_all_of_them_the_same_browser_paints(browser):
    assert ERROR.findall(browser.paint(prompt="a mug after all")) == []
    assert paint(browser.client)["state"] == "done"
