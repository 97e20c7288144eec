"""Conversations over HTTP: what the chat tab stands on, with a parrot for a model."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator

import httpx
import pytest

from studio.core.services import Studio
from studio.features.chat.answers.answers import Answers
from tests.patience import wait_until
from tests.studio.features.chat.answering import count_unfinished
from tests.studio.features.chat.parrot import Parrot
from tests.studio.live import build_api, live_studio, sentence
from tests.studio.people import ACCOUNTS

CHATS = "/api/v1/chats"
MODEL, GATED = "smollm2-135m", "llama-3.2-1b"
ATTACK = "<img src=x onerror=alert(1)> [x](javascript:alert(1))"


class Client:
    """Someone who talks; ``now`` is the conversation as it was told last."""

    def __init__(self, http: httpx.Client) -> None:
        self.http, self.now = http, None

    def ask(self, method: str, path: str, status: int = 200, **options) -> httpx.Response:
        answer = self.http.request(method, CHATS + path, **options)
        assert answer.status_code == status, answer.text
        return answer

    def begin(self, *models: str, **fields) -> None:
        body = {"models": models or [MODEL], **fields}
        self.now = self.ask("POST", "", 201, json=body).json()

    def change(self, path: str, method: str = "POST", **fields) -> None:
        body = {"revision": self.now["revision"], **fields}
        self.now = self.ask(method, path, json=body).json()

    def say(self, text: str) -> None:
        self.change(f"/{self.now['id']}/messages", text=text)
        self.wait()

    def wait(self) -> None:
        def have_all_ended() -> bool:
            self.now = self.ask("GET", f"/{self.now['id']}?drawn=true").json()
            last = [lane["messages"][-1] for lane in self.now["lanes"] if lane["messages"]]
            return all(message["state"] != "streaming" for message in last)

        wait_until(have_all_ended)

    def texts(self, lane: int = 0) -> list[str]:
        return [each["content"] for each in self.now["lanes"][lane]["messages"]]

    def last(self, lane: int = 0) -> dict:
        return self.now["lanes"][lane]["messages"][-1]


@pytest.fixture(scope="module")
def perch() -> dict[str, Parrot]:
    """Where the parrot sits that answers now."""
    return {}


@pytest.fixture(scope="module")
def studio(tmp_path_factory, perch) -> Iterator[tuple[Studio, str]]:
    """The studio and its address; a parrot answers in it."""
    from studio.core import services
    from studio.features.chat import feature

    def run(*asked):
        return perch["parrot"].run(*asked)

    home = tmp_path_factory.mktemp("chats")
    options = services.Options(home, device="cpu", offline=True, accounts=ACCOUNTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            feature, "Answers", lambda chats, _, *rest, **more: Answers(chats, run, *rest, **more)
        )
        with live_studio(options, build_api) as running:
            yield running


@pytest.fixture(autouse=True)
def parrot(perch, studio) -> Iterator[Parrot]:
    """A parrot of the test's own; nobody's conversation is left behind it."""
    perch["parrot"] = Parrot(["Some ", "**bold** ", "words"])
    yield perch["parrot"]
    running = studio[0]
    for row in running.store.rows("SELECT DISTINCT owner FROM conversations"):
        running.conversations.delete_all(row["owner"])
    wait_until(lambda: not count_unfinished(running.answers))


@pytest.fixture
def visitor(visitor) -> Callable[[str], Client]:
    return lambda name: Client(visitor(name))


@pytest.fixture
def ada(visitor) -> Client:
    return visitor("ada")


def test_a_conversation_is_begun_and_answered(ada):
    ada.begin(system_prompt="Be kind.", sampling={"temperature": 0.5})
    ada.say("hello")
    assert ada.texts() == ["hello", "Some **bold** words"]
    assert ada.last()["html"] == "<p>Some <strong>bold</strong> words</p>\n"
    assert ada.now["title"] == "hello"
    (lane,) = ada.now["lanes"]
    assert (lane["system_prompt"], lane["sampling"]) == ("Be kind.", {"temperature": 0.5})


def test_what_is_written_comes_as_what_is_new(ada, parrot):
    parrot.held, parrot.words = True, ["One\n\n", "two ", "three", " four"]
    ada.begin()
    ada.change(f"/{ada.now['id']}/messages", text="go")
    parrot.allow(3)
    html = tail = ""
    phases, tokens = [], 0
    with ada.http.stream("GET", f"{CHATS}/{ada.now['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            for news in json.loads(line[6:]) if line.startswith("data: [") else ():
                html += "".join(news.get("blocks", ()))
                tail = news.get("tail", tail) + news.get("words", "")
                phases.append(news.get("phase"))
                tokens = news.get("tokens", tokens)
            if tokens == 3 and "ended" not in phases:
                assert html + tail == "<p>One</p>\n<p>two three</p>\n"
                parrot.allow(1)
    assert "writing" in phases
    assert phases[-1] == "ended"
    ada.wait()
    assert ada.texts()[-1] == "One\n\ntwo three four"


def test_a_stream_that_is_opened_later_tells_it_from_the_beginning(ada, parrot):
    parrot.held, parrot.words = True, ["before ", "after"]
    ada.begin()
    ada.change(f"/{ada.now['id']}/messages", text="go")
    parrot.allow(1)

    def last_content() -> str:
        return ada.ask("GET", f"/{ada.now['id']}").json()["lanes"][0]["messages"][-1]["content"]

    wait_until(last_content)
    with ada.http.stream("GET", f"{CHATS}/{ada.now['id']}/events") as stream:
        first = next(line for line in stream.iter_lines() if "tail" in line)
    assert "before" in first
    parrot.allow(1)
    ada.wait()
    assert ada.texts()[-1] == "before after"


def test_stopped_and_gone_on_with(ada, parrot):
    parrot.held = True
    ada.begin()
    ada.change(f"/{ada.now['id']}/messages", text="go")
    parrot.allow(1)
    wait_until(lambda: parrot.made >= 1)
    ada.ask("POST", f"/{ada.now['id']}/stop")
    ada.wait()
    assert (ada.last()["state"], ada.last()["content"]) == ("stopped", "Some ")
    assert ada.last()["can_continue"]
    parrot.held = False
    ada.change(f"/messages/{ada.last()['id']}/continue")
    ada.wait()
    assert ada.texts() == ["go", "Some Some **bold** words"]


def test_an_edited_turn_makes_a_branch_that_one_can_leave_again(ada):
    ada.begin()
    ada.say("first")
    ada.say("second")
    asked = ada.now["lanes"][0]["messages"][0]
    ada.change(f"/messages/{asked['id']}/edit", text="other")
    ada.wait()
    assert [text for text in ada.texts() if "Some" not in text] == ["other"]
    edited = ada.now["lanes"][0]["messages"][0]
    assert (edited["place"], edited["siblings"]) == (2, 2)
    ada.change(f"/messages/{edited['id']}/turn", step=-1)
    assert [text for text in ada.texts() if "Some" not in text] == ["first", "second"]
    body = {"revision": ada.now["revision"], "step": -1}
    refused = ada.ask("POST", f"/messages/{asked['id']}/turn", 404, json=body)
    assert "no other message" in sentence(refused)


def test_another_answer_stands_beside_the_first(ada):
    ada.begin()
    ada.say("hello")
    ada.change(f"/messages/{ada.last()['id']}/answer")
    ada.wait()
    assert (ada.last()["place"], ada.last()["siblings"]) == (2, 2)
    assert len(ada.texts()) == 2


def test_an_edited_answer_is_not_answered(ada, parrot):
    ada.begin()
    ada.say("hello")
    ada.change(f"/messages/{ada.last()['id']}/edit", text="mine")
    assert ada.texts() == ["hello", "mine"]
    assert len(parrot.requests) == 1


def test_two_models_answer_one_prompt(ada):
    ada.begin(MODEL, MODEL)
    ada.say("hello")
    assert [ada.texts(lane)[0] for lane in (0, 1)] == ["hello", "hello"]
    assert all("bold" in ada.texts(lane)[1] for lane in (0, 1))
    ada.now = ada.ask(
        "DELETE", f"/{ada.now['lanes'][1]['id']}/lane?revision={ada.now['revision']}"
    ).json()
    assert len(ada.now["lanes"]) == 1
    body = {"revision": ada.now["revision"], "model": MODEL}
    ada.now = ada.ask("POST", f"/{ada.now['id']}/lanes", 201, json=body).json()
    assert ada.texts(1) == ada.texts(0)


def test_a_stale_page_changes_nothing(ada, visitor):
    ada.begin()
    ada.say("hello")
    other = visitor("ada")
    other.now = ada.now
    other.say("from another window")
    for path, body in (
        (f"/{ada.now['id']}/messages", {"text": "late"}),
        (f"/messages/{ada.last()['id']}/edit", {"text": "late"}),
        (f"/messages/{ada.last()['id']}/answer", {}),
    ):
        body = {"revision": ada.now["revision"], **body}
        refused = ada.ask("POST", path, 409, json=body)
        assert "has changed meanwhile" in sentence(refused)
    late = {"revision": ada.now["revision"], "title": "late"}
    ada.ask("PATCH", f"/{ada.now['id']}", 409, json=late)
    ada.ask("DELETE", f"/{ada.now['id']}?revision={ada.now['revision']}", 409)
    ada.wait()
    assert ada.now == other.now


def test_settings_and_title_are_kept(ada):
    ada.begin()
    ada.change(
        f"/{ada.now['id']}",
        "PATCH",
        title="  My   talk ",
        system_prompt="Short.",
        sampling={"top_k": 5, "stop": ["END"]},
    )
    assert ada.now["title"] == "My talk"
    assert ada.now["lanes"][0]["sampling"] == {"top_k": 5, "stop": ["END"]}
    bad = {"revision": ada.now["revision"], "sampling": {"temperature": 9}}
    refused = ada.ask("PATCH", f"/{ada.now['id']}", 422, json=bad)
    assert "Temperature is 9" in sentence(refused)


def test_nobody_sees_or_touches_another_s_conversation(ada, visitor):
    ada.begin()
    ada.say("a secret")
    bob, message = visitor("bob"), ada.last()["id"]
    assert bob.ask("GET", "").json()["chats"] == []
    chat = f"/{ada.now['id']}"
    for method, path in (
        ("GET", chat),
        ("GET", f"{chat}/events"),
        ("GET", f"{chat}/export.json"),
        ("GET", f"{chat}/export.md"),
        ("DELETE", chat),
        ("POST", f"{chat}/stop"),
    ):
        assert "no conversation" in sentence(bob.ask(method, path, 404))
    seen = {"revision": ada.now["revision"]}
    for path, body in (
        (f"{chat}/messages", {"text": "x"}),
        (f"{chat}/lanes", {"model": MODEL}),
        (f"/messages/{message}/edit", {"text": "x"}),
        (f"/messages/{message}/answer", {}),
        (f"/messages/{message}/continue", {}),
        (f"/messages/{message}/turn", {"step": 1}),
    ):
        bob.ask("POST", path, 404, json={**seen, **body})
    before = ada.now
    ada.wait()
    assert ada.now == before


def test_search_finds_and_pages_go_on(ada):
    for text in ("about apples", "about pears", "about plums"):
        ada.begin()
        ada.say(text)
    found = ada.ask("GET", "", params={"search": "PEARS about"}).json()["chats"]
    assert [each["title"] for each in found] == ["about pears"]
    first = ada.ask("GET", "", params={"limit": 2}).json()
    rest = ada.ask("GET", "", params={"limit": 2, "before": first["next"]}).json()
    titles = [each["title"] for each in first["chats"] + rest["chats"]]
    assert titles == ["about plums", "about pears", "about apples"]


def test_exported_and_brought_in_again(ada, visitor):
    ada.begin()
    ada.say("hello 你好")
    file = ada.ask("GET", f"/{ada.now['id']}/export.json")
    assert "attachment" in file.headers["content-disposition"]
    bob = visitor("bob")
    bob.now = bob.ask("POST", "/import", 201, content=file.content).json()
    assert bob.texts() == ada.texts()
    assert "hello 你好" in ada.ask("GET", f"/{ada.now['id']}/export.md").text
    assert "not JSON" in sentence(bob.ask("POST", "/import", 422, content=b"{"))


def test_an_answer_is_told_as_safe_html(ada):
    messages = [{"role": "user", "content": ATTACK}, {"role": "assistant", "content": ATTACK}]
    ada.now = ada.ask("POST", "/import?drawn=true", 201, json=messages).json()
    assert "html" not in ada.now["lanes"][0]["messages"][0]
    assert "<img" not in ada.last()["html"]
    assert 'href="javascript' not in ada.last()["html"]


def test_guests_choose_among_what_is_here(visitor, studio):
    guest, host = visitor("guest"), visitor("host")
    models = {
        client: {
            each["name"]: each for each in client.http.get("/api/v1/chat-models").json()["models"]
        }
        for client in (guest, host)
    }
    assert MODEL in models[guest]
    assert all(model["here"] for model in models[guest].values())
    gated = models[host][GATED]
    assert gated["badge"].startswith("gated")
    assert "https://huggingface.co/meta-llama" in gated["about"]
    assert "HF_TOKEN" in gated["about"]
    # Where a model lies or what key opens it is nobody's business.
    assert not {"source", "url", "api_key", "lora"} & gated.keys()
    refused = guest.ask("POST", "", 403, json={"models": [GATED]})
    assert "only the host" in sentence(refused)
    guest.begin()
    body = {"revision": guest.now["revision"], "model": GATED}
    guest.ask("PATCH", f"/{guest.now['id']}", 403, json=body)
    guest.ask("POST", f"/{guest.now['id']}/lanes", 403, json=body)


def test_a_file_that_names_a_model_does_not_download_it_for_a_guest(visitor, parrot):
    guest = visitor("guest")
    guest.begin()
    guest.say("hello")
    file = guest.ask("GET", f"/{guest.now['id']}/export.json").text
    file = file.replace(MODEL, GATED).replace('"state": "done"', '"state": "interrupted"')
    guest.now = guest.ask("POST", "/import", 201, content=file).json()
    asked, answered = guest.now["lanes"][0]["messages"]
    assert answered["can_continue"]
    seen = {"revision": guest.now["revision"]}
    for path, body in (
        (f"/{guest.now['id']}/messages", {"text": "more"}),
        (f"/messages/{asked['id']}/edit", {"text": "more"}),
        (f"/messages/{asked['id']}/answer", {}),
        (f"/messages/{answered['id']}/answer", {}),
        (f"/messages/{answered['id']}/continue", {}),
    ):
        refused = guest.ask("POST", path, 403, json={**seen, **body})
        assert "only the host" in sentence(refused)
    # Another model that is here does not make the words of the first its own.
    body = {**seen, "model": MODEL}
    guest.now = guest.ask("PATCH", f"/{guest.now['id']}", json=body).json()
    body = {"revision": guest.now["revision"]}
    guest.ask("POST", f"/messages/{answered['id']}/continue", 403, json=body)
    assert len(parrot.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"models": []},
        {"models": [MODEL] * 4},
        {"models": ["nothing"]},
        {"models": [MODEL], "sampling": {"temperature": -1}},
        {"models": [MODEL], "sampling": {"messages": []}},
        {"models": [MODEL], "extra": 1},
        {"models": "x"},
        {"models": [7]},
    ],
)
def test_a_bad_beginning_is_refused_in_one_sentence(ada, body):
    answer = ada.http.post(CHATS, json=body)
    assert answer.status_code in (404, 422)
    sentence(answer)


def test_a_failure_says_its_cause_and_can_be_tried_again(ada, parrot):
    parrot.failure = "load"
    ada.begin()
    ada.say("hello")
    assert ada.last()["state"] == "failed"
    assert ada.last()["error"] == "The file x of parrot is not there."
    parrot.failure = ""
    ada.change(f"/messages/{ada.last()['id']}/answer")
    ada.wait()
    assert ada.last()["state"] == "done"


def test_a_zip_of_another_program_comes_in_and_says_what_was_left_out(ada):
    message = {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url"}]}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("chats.jsonl", f"{json.dumps({'messages': [message]})}\n" * 2)
    ada.now = ada.ask("POST", "/import", 201, content=packed.getvalue()).json()
    assert ada.texts() == ["hi"]
    assert ada.now["brought"] == {
        "count": 2,
        "left_out": ["Left out: 2 pictures and other files."],
    }
    words = " ".join(f"word{number}" for number in range(900))
    assert ada.ask("GET", "", params={"search": f"hi {words}"}).json()["chats"] == []


def test_a_bug_is_told_in_a_sentence_without_its_inner_name(ada, studio, monkeypatch):
    def fail(*_, **__):
        raise KeyError(36)

    monkeypatch.setattr(studio[0].conversations, "search", fail)
    answer = ada.ask("GET", "", 500)
    assert sentence(answer).startswith("Atelier itself has failed here.")
    assert "KeyError" not in answer.text
