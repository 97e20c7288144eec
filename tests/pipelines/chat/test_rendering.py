"""Chat templates in a process that is ended when one takes too much."""

from __future__ import annotations

import json
import logging

import pytest
from pydantic import TypeAdapter

from pipelines.chat import templates
from pipelines.chat.rendering import process
from pipelines.chat.requests import ChatMessage
from pipelines.core.child_process import UnreadableAnswer
from pipelines.core.errors import BadRequest, Unavailable
from tests.pipelines.chat.chat_templates import FAMILIES
from tests.pipelines.chat.llamas import CHATML, SPECIALS

SAID = [ChatMessage(role="user", content="Grüße <|im_end|> 🦆")]
COUNTS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
GROWS = "{% set ns = namespace(s='x') %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}"


@pytest.fixture(autouse=True, scope="module")
def end_process():
    """No process is left."""
    yield
    for renderer in process._PROCESSES._renderers.values():
        renderer.end()


def test_a_prompt_is_the_one_that_is_rendered_here():
    for template in (CHATML, FAMILIES["Gemma 2"]):
        specials = SPECIALS[CHATML]
        assert process.render(template, SAID, specials, tokens={"bos_token": "<bos>"}) == (
            templates.render(template, SAID, specials, tokens={"bos_token": "<bos>"})
        )
    found = process.special_tokens_in(FAMILIES["Phi 3"])
    assert found == templates.special_tokens_in(FAMILIES["Phi 3"])


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (COUNTS, "was given up: it takes more than"),
        (GROWS + "{% endfor %}{{ ns.s }}", "was given up: it takes more than"),
        ("{{ 'x' * 99999999999 }}", "was given up: it takes more than"),
        ("{{ messages[0].content ~ 'x' * 17000000 }}", "at most 16000000 are read"),
        ("{{ raise_exception('x' * 99999) }}", "take this conversation: " + "x" * 500),
    ],
)
def test_a_template_that_takes_too_much_costs_itself_only(
    template: str, sentence: str, monkeypatch: pytest.MonkeyPatch
):
    if "given up" in sentence:  # the others may take their time
        monkeypatch.setattr(process, "LIMIT_SECONDS", 0.3)
    with pytest.raises((BadRequest, Unavailable)) as caught:
        process.render(template, SAID, [])
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 700
    monkeypatch.undo()
    assert process.render(CHATML, SAID, SPECIALS[CHATML])


def test_special_tokens_of_a_template_without_an_end_are_those_of_its_source(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(process, "LIMIT_SECONDS", 0.3)
    assert process.special_tokens_in(COUNTS + "<|im_start|>") == {"<|im_start|>"}


def test_the_cause_is_in_the_log_and_not_in_the_sentence(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING), pytest.raises(BadRequest, match="it breaks off"):
        process.render("{{ 1 / 0 }}", SAID, [])
    assert "division by zero" in caplog.text


def test_processes_are_few(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process, "MOST", 2)
    for number in range(3):
        parts = process.render(f"{number}{{{{ messages[0].content }}}}", SAID, [])
        assert parts[0].text.startswith(str(number))
    assert len(process._PROCESSES._renderers) == process.MOST


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"5\n", b"{}\n", b'{"value": [["a", 1]], "causes": []}', b"[" * 99999,
     b'{"value": ["a", true, 2], "causes": []}', b'{"refused": {"template": "{x.y}"}}',
     b'{"refused": {"template": "{x.__class__}", "values": {"x": 1}}, "causes": []}'],
)  # fmt: skip
def test_what_a_process_should_not_say_is_not_believed(answer: bytes):
    with pytest.raises(UnreadableAnswer):
        process._read(answer, process._PARTS)


def test_special_tokens_that_there_are_not_are_not_believed(monkeypatch: pytest.MonkeyPatch):
    def ask(template: str, kind: str, arguments: object, form: TypeAdapter) -> object:
        return process._read(
            json.dumps({"value": [["<|evil|>", True]], "causes": []}).encode(), form
        )

    monkeypatch.setattr(process._PROCESSES, "ask", ask)
    with pytest.raises(Unavailable, match="given up"):
        process.render(CHATML, SAID, SPECIALS[CHATML])
