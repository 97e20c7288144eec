"""Other people's servers: what they leave out, send otherwise, refuse, or want to be called."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import pytest

from pipelines.chat.backends.remote import Remote
from pipelines.chat.backends.remote_answers import AnswerReader, count_in, reason_of, words_of
from pipelines.chat.backends.remote_fields import unsent_fields
from pipelines.chat.context import ContextExceeded
from pipelines.chat.entries import ChatEntry
from pipelines.chat.events import Finished
from pipelines.chat.requests import ChatRequest, CompletionRequest
from pipelines.core.errors import BadRequest, Busy, Refused, Unavailable, validate
from tests.pipelines.chat.backends.providers import (
    delta,
    provider,
    reply,
    send_pieces,
    stream_events,
)

DONE = "[DONE]"
PLAIN = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
ASKED = ChatRequest(messages=[{"role": "user", "content": "Hello"}], model="far", seed=5, **PLAIN)


def entry(url: str = "http://127.0.0.1:9/v1", **fields: Any) -> ChatEntry:
    data = {"name": "far", "title": "Far", "backend": "remote", "url": url, **fields}
    return validate(ChatEntry, data)


def ask(handle, request=ASKED, **fields: Any) -> tuple[str, Finished]:
    """What a server's answer is read as."""
    with provider(handle) as url:
        *words, finished = Remote(entry(url, **fields)).answer(request, threading.Event())
    return "".join(each.text for each in words), finished


def choice(**fields: Any) -> dict:
    return {"choices": [{"index": 0, **fields}]}


# --- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["one\u2028two\u2029three\x85four\x0cfive", "注意\x1e🦆"])
def test_ends_of_lines_within_a_text_are_text(text: str):
    piece = json.dumps(delta(text, "stop"), ensure_ascii=False).encode()
    for end in (b"\n", b"\r\n", b"\r"):
        assert ask(send_pieces([b": waiting", end * 2, b"data: ", piece, end * 2]))[0] == text


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": None},
        {"choices": []},
        {"choices": {"delta": {"content": None}}},
        {"choices": [None, 5, "x", []]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": []}]},
        {"choices": [{"delta": {}}]},
        {"choices": [{"delta": {"content": []}, "logprobs": [], "finish_reason": []}]},
        {"choices": [{"delta": {"content": ""}, "logprobs": {"content": None}}]},
        {"choices": [{"delta": {"content": ""}, "logprobs": {"content": [None, {"token": None}]}}]},
        {"error": None, "usage": None},
        {"usage": [1, 2]},
        {"usage": {"prompt_tokens": None, "completion_tokens": "7", "prompt_tokens_details": []}},
        {"choices": [{"index": 1, "delta": {"content": "another answer"}}]},
        {},
        [],
        None,
        7,
    ],
)
def test_what_is_null_missing_or_a_list_costs_nothing_else(odd):
    said, finished = ask(
        stream_events(odd, delta("Hel"), odd, delta("lo"), odd, delta("", "stop"), DONE)
    )
    assert (said, finished.reason, finished.left_out) == ("Hello", "stop", ())
    assert (finished.prompt_tokens, finished.tokens) == (None, None), "nobody has told them"


@pytest.mark.parametrize(
    ("content", "text", "left_out"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab", ()),
        (["a", None, {"text": "b"}], "ab", ()),
        ({"type": "text", "text": "a"}, "a", ()),
        (
            [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}],
            "a",
            ("thoughts",),
        ),
        ([{"type": "image_url", "image_url": {"url": "x"}}], "", ("pictures",)),
        (5, "", ("something that is no text",)),
        ([{"type": ["?"]}], "", ("something that is no text",)),
    ],
)
def test_contents_may_be_parts(content, text: str, left_out: tuple[str, ...]):
    said, finished = ask(stream_events(delta(content), delta("", "stop"), DONE))
    assert (said, finished.left_out) == (text, left_out)


def test_what_is_not_handed_on_is_said():
    said, finished = ask(
        stream_events(
            choice(delta={"reasoning_content": "Let me think."}),
            choice(delta={"content": "Yes", "tool_calls": [{"function": {"name": "f"}}]}),
            choice(delta={"refusal": "."}, finish_reason="stop"),
        )
    )
    assert (said, finished.left_out) == ("Yes.", ("thoughts", "tool calls"))


def test_halves_of_a_character_are_put_together():
    assert ask(stream_events(delta("a\ud83e"), delta("\udd86b"), delta("\ud83e", "stop")))[0] == (
        "a🦆b\ufffd"
    )


@pytest.mark.parametrize(
    ("given", "reason"),
    [("stop", "stop"), ("eos", "stop"), ("length", "length"), ("model_length", "length"),
     ("MAX_TOKENS", "length"), ("content_filter", "content_filter"), ("SAFETY", "content_filter"),
     ("sensitive", "content_filter"), ("model_context_window_exceeded", "length"),
     ("function_call", "tool_calls"), (None, None), ("", None), (5, None), ({"type": "x"}, None)],
)  # fmt: skip
def test_reasons_are_those_of_the_protocol(given, reason):
    assert reason_of(given) == reason


@pytest.mark.parametrize("end", [(DONE,), (delta("", "stop"),), (choice(finish_reason="stop"),)])
def test_either_end_ends_an_answer(end):
    assert ask(stream_events(delta("Hi"), *end))[0] == "Hi"


def test_an_answer_that_comes_whole_though_a_stream_was_asked_for():
    message = {"role": "assistant", "content": "Hello", "tool_calls": None}
    body = {"choices": [{"message": message, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2.0}}  # fmt: skip
    said, finished = ask(reply(200, body))
    assert (said, finished.reason) == ("Hello", "length")
    assert (finished.prompt_tokens, finished.tokens) == (3, 2)


@pytest.mark.parametrize(
    ("value", "count"),
    [(3, 3), (3.0, 3), (0, 0), (3.5, None), (-1, None), (True, None), ("3", None), (None, None),
     ([3], None), (math.inf, None), (math.nan, None), (10**400, None)],
)  # fmt: skip
def test_counts_are_numbers_or_unknown(value, count):
    assert count_in(value) == count


def test_counts_may_come_in_parts_and_zeros_are_no_counts():
    reader = AnswerReader()
    list(reader.read({**delta("a"), "usage": {"prompt_tokens": 7, "completion_tokens": 0}}))
    assert (reader.prompt_tokens, reader.tokens) == (7, None), "a word came"
    list(
        reader.read(
            {"usage": {"completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 99}}}
        )
    )
    assert (reader.prompt_tokens, reader.tokens, reader.cached_tokens) == (7, 2, 7)


def test_odds_are_read_as_far_as_they_are_some():
    tops = [{"token": "b", "logprob": -1, "bytes": "?"}, {"logprob": 1}, None]
    content = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": tops},
               {"token": "c", "logprob": math.nan, "bytes": [300], "top_logprobs": None},
               ]  # fmt: skip
    (words,) = AnswerReader().read(choice(delta={"content": "ac"}, logprobs={"content": content}))
    assert [(odds.text, odds.logprob, odds.bytes) for odds in words.odds] == [
        ("a", -0.5, b"a"),
        ("c", None, b"c"),
    ]
    assert [(odds.text, odds.logprob, odds.bytes) for odds in words.odds[0].top] == [
        ("b", -1, b"b")
    ]
    plain = {
        "tokens": ["a", None, "\ud83e"],
        "token_logprobs": [None, -1],
        "top_logprobs": [None, 5, {"x": None, "y": -2}],
    }
    (words,) = AnswerReader().read(choice(text="a", logprobs=plain))
    assert [(odds.text, odds.logprob) for odds in words.odds] == [("a", None), ("\ufffd", None)]
    assert [odds.text for odds in words.odds[1].top] == ["y"]


def whole(text: str, reason: str | None = None) -> dict:
    return {"choices": [{"message": {"content": text}, "finish_reason": reason}]}


def beside(piece: str | None, message: str, reason: str | None = None) -> dict:
    """A piece with a message beside it, as Perplexity has sent the answer so far."""
    return choice(delta={"content": piece}, message={"content": message}, finish_reason=reason)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ((delta("Hel"), delta("lo"), whole("Hello", "stop")), "Hello"),  # MiniMax ends so
        ((delta("Hel"), whole("Hello", "stop")), "Hello"),
        ((delta("Hello "), whole("Hello", "stop")), "Hello "),
        ((whole("Hel"), whole("Hello"), whole("Hello", "stop")), "Hello"),
        ((whole("Hel"), whole("lo"), whole("lo", "stop")), "Hellolo"),
        ((whole("Hello", "stop"),), "Hello"),
        ((whole("I"), whole(" said "), whole("It is"), whole("", "stop")), "I said It is"),
        ((whole("Hel"), whole("lo"), whole("Hello", "stop")), "Hello"),
        ((delta("Hel"), delta("lo"), whole("Hello, you", "stop")), "Hello, you"),
        ((delta("Hel"), whole("No, sorry", "stop")), "HelNo, sorry"),
        ((delta("Hel"), delta("lo"), whole("lo", "stop")), "Hello"),
        ((beside("Hel", "Hel"), beside("lo", "Hello"), beside("", "Hello", "stop")), "Hello"),
        ((beside("", "Hello"), beside(None, "", "stop")), "Hello"),
    ],
)
def test_an_answer_that_is_sent_once_more_as_a_whole_is_said_once(pieces, said: str):
    assert ask(stream_events(*pieces))[0] == said


def test_objects_in_lines_without_empty_ones_between_are_events():
    lines = [f"data: {json.dumps(each)}\n" for each in (delta("Hel"), delta("lo", "stop"))]
    for end in ("data: [DONE]\n", "data: [DONE]\n\n", ""):
        assert ask(send_pieces(line.encode() for line in [*lines, end]))[0] == "Hello"


def test_contents_within_contents_without_end_are_no_failure():
    content = "[" * 900 + "]" * 900
    piece = f'{{"choices": [{{"delta": {{"content": {content}}}}}]}}'
    said, finished = ask(stream_events(piece, delta("Hi", "stop")))
    assert (said, finished.left_out) == ("Hi", ("something that is no text",))


@pytest.mark.parametrize("reason", ["abort", "insufficient_system_resource", "network_error"])
def test_an_answer_that_was_given_up_is_not_passed_off_as_whole(reason: str):
    said = []
    with (
        provider(stream_events(delta("Hel"), delta("lo", reason), DONE)) as url,
        pytest.raises(Unavailable, match=f"early and says only “{reason}”"),
    ):
        said.extend(Remote(entry(url)).answer(ASKED, threading.Event()))
    assert [words.text for words in said] == ["Hel", "lo"], "what came beside the reason is kept"


def test_every_status_of_success_is_one():
    assert ask(reply(201, whole("Hello")))[0] == "Hello"


# --- ends that are none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handle", "kind", "sentence"),
    [
        (stream_events(delta("Hi")), Unavailable, "broke off in the middle"),
        (send_pieces([b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: {"c']),
         Unavailable, "broke off in the middle"),
        (send_pieces([]), Unavailable, "broke off before its answer began"),
        (send_pieces([b": waiting\n\n"]), Unavailable, "broke off before its answer began"),
        (stream_events("half a"), Unavailable, "no answer of OpenAI's protocol: half a"),
        (stream_events({"type": "response.output_text.delta", "delta": "Hi"}),
         Unavailable, "protocol: {\"type\": \"response.output_text"),
        (stream_events({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}, "[DONE]"),
         Unavailable, "protocol: {\"candidates"),
        (send_pieces([b'{"choices": null, "base_resp": {"status_msg": "insufficient balance"}}']),
         Unavailable, "insufficient balance"),
        (reply(200, "<!DOCTYPE html><title>Log in</title>"), Unavailable, "<!DOCTYPE html>"),
        (reply(200, '{"response": "a"}\n{"response": "b"}'), Unavailable, "no answer of"),
        (stream_events({"error": {"message": "the card fell out"}}), Unavailable, "card fell out"),
        (stream_events({"error": "no room", "choices": None}), Unavailable, "no room"),
        (stream_events({"error": ["no", {"msg": "room"}]}), Unavailable, "no; room"),
        (stream_events({"detail": "Not enough credits"}),
         Unavailable, "answer: Not enough credits"),
        (stream_events({"code": 1001, "msg": "余额不足"}, DONE), Unavailable, "answer: 余额不足"),
        (reply(200, {"status": "error", "message": "quota"}), Unavailable, "answer: quota"),
        (reply(200, {"msg": "success", "data": {"text": "Hi"}}), Unavailable, "no answer of"),
        (reply(400, {"error": {"message": '{"detail": "no seed"}'}}), Unavailable, ": no seed"),
        (reply(502, {"error": {"message": "Provider returned error", "metadata": {
            "raw": '{"error": {"message": "the card is hot"}}'}}}), Unavailable, "card is hot"),
        (stream_events({"error": True}), Unavailable, "no reason given"),
        (stream_events({"error": {"code": "429", "message": "slow down"}}), Busy, "slow down"),
        (stream_events({"object": "error", "message": "no adapter"}), Unavailable, "no adapter"),
        (stream_events(choice(finish_reason="error")), Unavailable, "with an error"),
        (stream_events(choice(error={"message": "upstream"})), Unavailable, "upstream"),
        (send_pieces([b"event: error\ndata: out of credit\n\n"]), Unavailable, "out of credit"),
        (stream_events(choice(delta={"tool_calls": [{}]}, finish_reason="tool_calls")),
         Unavailable, "asks for a tool"),
        (reply(502, ""), Unavailable, "could not answer: HTTP 502"),
        (reply(502, "<html><style>b{}</style><h1>Bad <b>Gateway</b></h1></html>"),
         Unavailable, "could not answer: Bad Gateway"),
        (reply(307, "", location="https://me:secret@far.example/v1/chat?key=1"),
         Unavailable, "sends its clients on to https://far.example/v1/chat. "),
        (reply(401, {"detail": "Unauthorized"}), Refused, "wants a key"),
        (reply(403, {"error": {"message": "not from there"}}), Unavailable, "not from there"),
        (reply(400, {"message": "maximum context length is 9"}), ContextExceeded, "is 9"),
        (reply(400, {"error": {"code": True, "message": None, "type": "x"}}),
         Unavailable, ": x"),
    ],
)  # fmt: skip
def test_what_went_wrong_is_said_truly(handle, kind, sentence: str):
    with pytest.raises(kind) as caught:
        ask(handle)
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not any(name in str(caught.value) for name in ("Error(", "JSONDecode", "KeyError", "{'"))


def test_a_connection_that_is_cut_within_a_chunk_broke_off():
    def handle(handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        data = f"data: {json.dumps(delta('Hi'))}\n\n".encode()
        handler.wfile.write(b"%x\r\n%b\r\nff\r\ndata: " % (len(data), data))
        handler.close_connection = True

    with pytest.raises(Unavailable, match="broke off in the middle"):
        ask(handle)


def test_a_port_where_nobody_listens_is_named_in_the_system_s_words():
    with pytest.raises(Unavailable) as caught:
        list(Remote(entry()).answer(ASKED, threading.Event()))
    assert "cannot be reached (Connection refused)" in str(caught.value)


def test_a_key_that_no_header_takes_is_not_shown():
    for key in ("gehéim", "geheim\nx: y"):
        with pytest.raises(Refused, match="characters that cannot be sent") as caught:
            list(Remote(entry(api_key=key)).answer(ASKED, threading.Event()))
        assert "geh" not in str(caught.value)


@pytest.mark.parametrize(
    "handle",
    [reply(401, {"error": {"message": "Incorrect key: sk-geheim."}}),
     stream_events({"error": "sk-geheim is blocked"}), stream_events("sk-geheim?")],
)  # fmt: skip
def test_a_key_that_a_server_repeats_is_not_shown(handle):
    with pytest.raises((Refused, Unavailable)) as caught:
        ask(handle, api_key="sk-geheim")
    assert "geheim" not in str(caught.value)
    assert "…" in str(caught.value)


def test_a_key_from_the_environment_that_is_not_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("FAR_KEY", raising=False)
    with pytest.raises(Refused, match="variable FAR_KEY is not set"):
        ask(reply(401, {"error": "no key"}), api_key_env="FAR_KEY")


def test_refusals_are_read_in_whatever_form_they_come():
    detail = [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "type": "extra"}]
    assert words_of({"message": {"detail": detail}}) == "seed: Extra inputs are not permitted"
    assert words_of({"error": {"error": {"message": " two\n lines. "}}}) == "two lines"
    assert words_of({"a": 1}) == words_of(None) == words_of([]) == ""


# --- what is sent -------------------------------------------------------------------------------


def body_of(request=ASKED, **fields: Any) -> dict:
    bodies = []

    def handle(handler) -> None:
        bodies.append(handler.sent)
        stream_events(DONE)(handler)

    ask(handle, request, **fields)
    return bodies[0]


def test_fields_are_left_out_renamed_and_added_as_the_model_s_file_says():
    request = ASKED.model_copy(update={"max_new_tokens": 9})
    body = body_of(
        request,
        extensions=False,
        omit_fields=["seed", "stream_options"],
        rename_fields={"max_tokens": "max_completion_tokens"},
        extra_fields={"safe_prompt": True, "provider": {"order": ["a"]}},
    )
    assert set(body) == {"model", "messages", "stream", "temperature", "top_p",
                         "max_completion_tokens", "safe_prompt", "provider"}  # fmt: skip
    assert (body["max_completion_tokens"], body["provider"]) == (9, {"order": ["a"]})


def test_penalties_and_biases_are_sent_where_they_are_some():
    assert {"presence_penalty", "frequency_penalty", "logit_bias", "echo"}.isdisjoint(body_of())
    changes = {"presence_penalty": 0.5, "frequency_penalty": -1, "logit_bias": {7: -100}}
    body = body_of(ASKED.model_copy(update=changes))
    assert (body["presence_penalty"], body["frequency_penalty"]) == (0.5, -1)
    assert body["logit_bias"] == {"7": -100}


def test_tokens_are_sent_as_such():
    request = CompletionRequest(prompt_tokens=(1, 2), echo=True, logprobs=1, model="far", **PLAIN)
    body = body_of(request)
    assert (body["prompt"], body["echo"], body["logprobs"]) == ([1, 2], True, 1)


def test_a_server_that_refuses_a_field_is_answered_with_what_to_do():
    detail = [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]
    with pytest.raises(Unavailable, match="does not take seed, say so under omit_fields"):
        ask(reply(422, {"message": {"detail": detail}}))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"omit_fields": ["seeed"]}, "omit_fields names seeed; it may name stream_options"),
        ({"omit_fields": ["messages"]}, "omit_fields names messages"),
        ({"rename_fields": {"top": "x"}}, "rename_fields names top"),
        ({"rename_fields": {"seed": "top_p"}}, "would send top_p a second time"),
        ({"rename_fields": {"seed": "x", "top_p": "x"}}, "would send x a second time"),
        ({"extra_fields": {"stream": False}}, "would send stream a second time"),
        ({"extra_fields": {"seed": 1}}, "name seed under omit_fields first"),
        ({"url": "http://"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "http://far:port/v1"}, "url"),
    ],
)
def test_a_file_that_asks_for_what_cannot_be_is_refused(fields: dict, sentence: str):
    with pytest.raises(BadRequest) as caught:
        entry(**fields)
    assert sentence in str(caught.value)


def test_what_is_asked_for_and_not_sent_is_known():
    request = ASKED.model_copy(update={"top_k": 40, "logit_bias": {1: 1.0}, "temperature": 0.5})
    strict = entry(extensions=False, omit_fields=["seed", "temperature"])
    assert unsent_fields(request, strict) == ("temperature", "top_k", "seed")
    assert unsent_fields(ASKED, entry(extensions=False, omit_fields=["temperature"])) == ()
    assert unsent_fields(request, entry()) == ()
