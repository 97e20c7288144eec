"""Asking a scripted model, and waiting for its answers."""

from __future__ import annotations

import time

from pipelines.chat.requests import ChatMessage, ChatRequest

GUEST = "guest-1"
ASK = ChatRequest(messages=(ChatMessage(role="user", content="hello"),))


def until(holds, seconds=10.0):
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
    return value


def asked(answers, talk, text="hello", **overrides):
    question = talk.say(text)
    return answers.start(talk.owner, talk.id, question.id, overrides)


def ended(talk, message_id):
    until(lambda: talk.all.message(talk.owner, message_id).state != "streaming")
    return talk.all.message(talk.owner, message_id)
