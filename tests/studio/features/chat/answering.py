"""Asking a scripted model, and waiting for its answers."""

from __future__ import annotations

from pipelines.chat.requests import ChatMessage, ChatRequest
from tests.patience import wait_until

GUEST = "guest-1"
ASK = ChatRequest(messages=(ChatMessage(role="user", content="hello"),))


def ask(answers, talk, text="hello", **overrides):
    question = talk.say(text)
    return answers.start(talk.owner, talk.id, question.id, overrides)


def wait_for_end(talk, message_id):
    wait_until(lambda: talk.all.message(talk.owner, message_id).state != "streaming")
    return talk.all.message(talk.owner, message_id)


def count_unfinished(answers, owner=None):
    """How many answers are being written: an owner's, or everybody's."""
    taken = answers._places._taken
    return taken.total() if owner is None else taken[owner]
