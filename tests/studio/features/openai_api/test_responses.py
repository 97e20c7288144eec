"""Responses by the official client, of SmolLM2."""

from __future__ import annotations

import json
from typing import Annotated

import jsonschema
import openai
import pytest
from pydantic import BaseModel, Field

from studio.features.openai_api.responses import MOST, Kept, ResponseMemory
from tests.studio.features.openai_api.conftest import MODEL
from tests.studio.features.openai_api.test_tools import PERSON, TOOLS, WEATHER, weather_of

FLAT = [{"type": "function", **tool["function"]} for tool in TOOLS]
FIXED = {"model": MODEL, "temperature": 0, "max_output_tokens": 12}


def ask(client: openai.OpenAI, given="Tell me about ducks.", **changes):
    return client.responses.create(**FIXED | {"input": given} | changes)


def test_a_response_says_what_a_chat_says(client):
    answer = ask(client)
    chat = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me about ducks."}],
        temperature=0,
        max_tokens=12,
    )
    assert answer.output_text == chat.choices[0].message.content
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.input_tokens == chat.usage.prompt_tokens
    assert (answer.usage.output_tokens, answer.usage.total_tokens) == (
        12,
        chat.usage.total_tokens,
    )
    (item,) = answer.output
    assert (item.type, item.role, item.status) == ("message", "assistant", "completed")


def test_events_come_in_their_order_and_make_the_whole(client):
    whole = ask(client)
    with client.responses.stream(**FIXED, input="Tell me about ducks.") as stream:
        events = list(stream)
    assert events[-1].response.output_text == whole.output_text
    kinds = [event.type for event in events]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 5
    assert "".join(deltas) == whole.output_text
    rest = [kind for kind in kinds if kind != "response.output_text.delta"]
    assert rest == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_instructions_are_a_system_prompt(client):
    answer = ask(client, instructions="Answer with the word yes.")
    chat = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "Answer with the word yes."},
            {"role": "user", "content": "Tell me about ducks."},
        ],
        temperature=0,
        max_tokens=12,
    )
    assert answer.output_text == chat.choices[0].message.content
    assert answer.instructions == "Answer with the word yes."


def test_a_response_is_gone_on_from_without_its_instructions(client, studio):
    first = ask(client, instructions="Be short.")
    second = ask(client, "And geese?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    kept = studio.openai_responses.get("local", second.id)
    assert [each["role"] for each in kept.messages] == ["user", "assistant", "user", "assistant"]
    chat = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": "Tell me about ducks."},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "And geese?"},
        ],
        temperature=0,
        max_tokens=12,
    )
    assert second.output_text == chat.choices[0].message.content
    assert client.responses.retrieve(first.id).output_text == first.output_text
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="any more"):
        ask(client, "And?", previous_response_id=first.id)


def test_what_is_not_stored_is_not_remembered(client):
    first = ask(client, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_nobody_goes_on_from_what_is_another_s():
    memory = ResponseMemory(None)
    memory.keep("ada", Kept([], {"id": "resp_1"}))
    assert memory.get("ada", "resp_1").body == {"id": "resp_1"}
    with pytest.raises(Exception, match="There is no response resp_1"):
        memory.get("bob", "resp_1")
    for number in range(2, MOST + 2):
        memory.keep("ada", Kept([], {"id": f"resp_{number}"}))
    with pytest.raises(Exception, match="newest"):
        memory.get("ada", "resp_1")
    memory.keep("ada", Kept([{"role": "user", "content": "x" * 9_000_000}], {"id": "long"}))
    memory.get("ada", "long")
    with pytest.raises(Exception, match="newest"):
        memory.get("ada", f"resp_{MOST}")


def test_a_tool_is_called_and_answered(client):
    choice = {"type": "function", "name": "get_weather"}
    answer = ask(client, tools=FLAT, tool_choice=choice, max_output_tokens=100)
    (call,) = answer.output
    assert (call.type, call.name, answer.status) == ("function_call", "get_weather", "completed")
    arguments = json.loads(call.arguments)
    jsonschema.validate(arguments, WEATHER["function"]["parameters"])
    with client.responses.stream(
        **FIXED | {"max_output_tokens": 100}, input="Tell me about ducks.", tools=FLAT,
        tool_choice=choice,
    ) as stream:  # fmt: skip
        kinds = {event.type for event in stream}
        (streamed,) = stream.get_final_response().output
    assert json.loads(streamed.arguments) == arguments
    assert {"response.function_call_arguments.delta", "response.completed"} <= kinds
    told = {"type": "function_call_output", "call_id": call.call_id, "output": "20 C"}
    second = ask(client, [told], previous_response_id=answer.id, tools=FLAT)
    assert second.output_text
    # The same as items of one's own.
    items = [{"role": "user", "content": "Tell me about ducks."}, call.model_dump(), told]
    assert ask(client, items, tools=FLAT).output_text == second.output_text


def test_an_answer_fits_its_schema(client):
    form = {"type": "json_schema", "name": "person", "schema": PERSON}
    answer = ask(client, text={"format": form}, max_output_tokens=100)
    jsonschema.validate(json.loads(answer.output_text), PERSON)

    class Person(BaseModel):
        name: Annotated[str, Field(max_length=12)]
        age: Annotated[int, Field(ge=0, le=150)]

    parsed = client.responses.parse(
        **FIXED | {"max_output_tokens": 100}, input="Who are you?", text_format=Person
    )
    assert isinstance(parsed.output_parsed, Person)


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"input": []}, "input", "missing"),
        ({"input": [{"type": "computer_call"}]}, "input[0]", "computer_call"),
        ({"input": [{"role": "bishop", "content": "x"}]}, "input[0].role", "bishop"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
         "input[0].content[0]", "input_image"),
        ({"max_output_tokens": 0}, "max_output_tokens", "max_output_tokens is 0"),
        ({"temperature": 9}, "temperature", "at most 2"),
        ({"background": True}, "background", "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]", "function"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name", "1 to 64"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice", "among"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}},
         "text.format.json_schema.schema", "missing"),
        ({"model": "nobody"}, "model", "nobody"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_by_its_name(raw, changes, param, words):
    answer = raw.post("/v1/responses", json={**FIXED, "input": "Hi", **changes})
    error = answer.json()["error"]
    assert answer.status_code in (400, 404), error
    assert words in error["message"]
    assert error["param"] == param


def test_calls_of_both_doors_are_alike(client):
    chat = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me about ducks."}],
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0,
        max_tokens=100,
    )
    answer = ask(client, tools=FLAT, tool_choice={"type": "function", "name": "get_weather"},
                 max_output_tokens=100)  # fmt: skip
    (call,) = chat.choices[0].message.tool_calls
    assert weather_of(call) == json.loads(answer.output[0].arguments)
