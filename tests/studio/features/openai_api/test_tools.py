"""Tools and JSON: read from bodies, told to the model, found in what it says; on SmolLM2."""

from __future__ import annotations

import json
from typing import Annotated

import jsonschema
import openai
import pytest
from pydantic import BaseModel, Field

from studio.features.openai_api import bodies
from studio.features.openai_api.tools import Call, CallReader, read_tools
from tests.studio.features.openai_api.test_answers import ask, pieces, text_of

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a town.",
        "parameters": {
            "type": "object",
            "properties": {
                "town": {"type": "string", "maxLength": 20},
                "unit": {"enum": ["C", "F"]},
            },
            "required": ["town", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "tell_time",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    },
}
TOOLS = [WEATHER, CLOCK]
NAMED = {"type": "function", "function": {"name": "get_weather"}}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
AS_PERSON = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}


# --- what a model says --------------------------------------------------------------------------

CALLED = '<tool_call>\n{"name": "tell_time", "arguments": {}}\n</tool_call>'


@pytest.mark.parametrize(
    ("said", "words", "names"),
    [
        ("Good morning.", "Good morning.", []),
        (CALLED, "", ["tell_time"]),
        (f"I look.\n{CALLED}\n{CALLED}", "I look.", ["tell_time", "tell_time"]),
        ('{"name": "tell_time", "parameters": {}}', "", ["tell_time"]),
        ('{"name": "nobody", "arguments": {}}', '{"name": "nobody", "arguments": {}}', []),
        ('So: {"name": "tell_time", "arguments": {}}', 'So: {"name": "tell_time", "arguments": {}}',
         []),
        ("<tool_call>\nnot JSON\n</tool_call>", "<tool_call>\nnot JSON\n</tool_call>", []),
        ('<tool_call>{"name": "tell_time"}', "", ["tell_time"]),
        ("a <tool", "a <tool", []),
        ("1 < 2, <tool_calls>", "1 < 2, <tool_calls>", []),
        ("{1, 2}", "{1, 2}", []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_told_from_words_however_they_come(said, words, names, size):
    reader = CallReader(read_tools({"tools": TOOLS}))
    found = []
    for start in range(0, len(said), size):
        found += reader.read(said[start : start + size])
    found += reader.end()
    assert "".join(each for each in found if isinstance(each, str)) == words
    assert [each.name for each in found if isinstance(each, Call)] == names


def test_words_are_not_held_back_for_long():
    reader = CallReader(read_tools({"tools": TOOLS}))
    assert reader.read("Hello <b>") == ["Hello <b>"]
    assert reader.read(" and <tool") == [" and"]
    assert reader.read("s>") == [" <tools>"]


def test_a_history_with_tools_becomes_the_text_that_models_were_trained_on():
    called = {"id": "1", "type": "function",
              "function": {"name": "get_weather", "arguments": '{"town": "Rome"}'}}  # fmt: skip
    said = bodies.messages(
        [
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": None, "tool_calls": [called, called]},
            {"role": "tool", "tool_call_id": "1", "content": "20 C"},
            {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "sunny"}]},
            {"role": "user", "content": "Thanks."},
        ]
    )
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"town": "Rome"}}\n</tool_call>'
    assert said == [
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": f"{call}\n{call}"},
        {
            "role": "user",
            "content": "<tool_response>\n20 C\n</tool_response>\n"
            "<tool_response>\nsunny\n</tool_response>",
        },
        {"role": "user", "content": "Thanks."},
    ]


def test_the_model_is_told_of_the_tools_in_its_system_prompt():
    body = {"messages": [{"role": "user", "content": "Hi"}], "tools": TOOLS}
    (request,) = bodies.chat(body).requests
    told = request.messages[0]
    assert told.role == "system"
    lines = told.content.splitlines()
    listed = lines[lines.index("<tools>") + 1 : lines.index("</tools>")]
    assert [json.loads(line)["function"]["name"] for line in listed] == ["get_weather", "tell_time"]
    body["messages"].insert(0, {"role": "developer", "content": "Be short."})
    (request,) = bodies.chat(body).requests
    assert [each.role for each in request.messages] == ["system", "user"]
    assert request.messages[0].content == f"Be short.\n\n{told.content}"
    (plain,) = bodies.chat(body | {"tool_choice": "none"}).requests
    assert plain.messages[0].content == "Be short."


# --- on a model ---------------------------------------------------------------------------------


def weather_of(call) -> dict:
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert call.id
    arguments = json.loads(call.function.arguments)
    jsonschema.validate(arguments, WEATHER["function"]["parameters"])
    return arguments


def test_a_named_tool_is_called_whatever_the_model_is(client):
    answer = ask(client, tools=TOOLS, tool_choice=NAMED, max_tokens=100)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    whole = weather_of(call)
    # In pieces the same: first who is called, then with what.
    chunks = pieces(ask(client, tools=TOOLS, tool_choice=NAMED, max_tokens=100, stream=True))
    told = [piece for chunk in chunks for piece in chunk.choices[0].delta.tool_calls or ()]
    assert (told[0].function.name, told[0].index) == ("get_weather", 0)
    assert told[0].id
    assert json.loads("".join(piece.function.arguments for piece in told)) == whole
    assert text_of(chunks) == ""
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_one_of_the_tools_is_called_where_one_is_required(client):
    answer = ask(client, tools=TOOLS, tool_choice="required", max_tokens=100)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name in ("get_weather", "tell_time")
    json.loads(call.function.arguments)


def test_the_answer_to_a_call_is_gone_on_from(client):
    first = ask(client, tools=TOOLS, tool_choice=NAMED, max_tokens=100).choices[0].message
    history = [
        {"role": "user", "content": "What is the weather in Rome?"},
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "20 C, sunny"},
    ]
    answer = ask(client, messages=history, tools=TOOLS, max_tokens=20)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_an_answer_fits_its_schema(client):
    answer = ask(client, response_format=AS_PERSON, max_tokens=100, temperature=1.5, seed=3, n=2)
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content), PERSON)
    streamed = pieces(ask(client, response_format=AS_PERSON, max_tokens=100, stream=True))
    jsonschema.validate(json.loads(text_of(streamed)), PERSON)


def test_an_answer_is_an_object_where_one_is_asked_for(client):
    answer = ask(client, response_format={"type": "json_object"}, max_tokens=8)
    assert answer.choices[0].message.content.lstrip().startswith("{")


def test_the_official_client_reads_its_own_classes(client):
    class Person(BaseModel):
        name: Annotated[str, Field(max_length=12)]
        age: Annotated[int, Field(ge=0, le=150)]

    answer = client.chat.completions.parse(
        model="smollm2-135m",
        messages=[{"role": "user", "content": "Who are you?"}],
        response_format=Person,
        max_tokens=120,
        temperature=0,
    )
    assert isinstance(answer.choices[0].message.parsed, Person)


@pytest.mark.parametrize("schema", [{"type": "string", "pattern": "(?=a)b"}, {"enum": []}])
def test_a_schema_that_no_grammar_can_hold_is_refused(client, schema):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="no grammar can be made") as caught:
            list(ask(client, response_format=wanted, stream=stream))
        assert caught.value.param == "response_format"
