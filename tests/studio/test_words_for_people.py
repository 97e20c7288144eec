"""No sentence that a person sees holds a name of the program's inside: of an error, a class, a path
of fields."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

import pipelines
import studio
from pipelines.core.errors import BadRequest, UserError, reason_of, unforeseen, validate
from pipelines.core.messages import Message
from studio.core.home import disk_full
from studio.i18n import LANGUAGES, translate, without_folders
from tests.studio.test_i18n import sentences, templates

INNER = re.compile(
    r"\b[A-Z]\w*(?:Error|Exception)\b"  # KeyError, JSONDecodeError
    r"|NoneType|constrained-|function-|tuple\[|list\[|dict\[|union\["  # pydantic's and Python's
    r"|[Ii]nput should|instance of|[Vv]alidation error|\bobject has no|<class|0x[0-9a-f]{6}"
    r"|\b[a-z_]+\.\d+\.[a-z]"  # messages.0.role
)
STRANGE = (None, 7, -0.5, "x", "\ud800", [7], {"a": 1}, [{"role": 7}])


def inner_names(sentence: str) -> list[str]:
    return [match[0] for match in INNER.finditer(sentence)]


def test_no_sentence_of_the_sources_names_an_inner_thing():
    found = {
        f"{place}: {text}": names
        for text, place in (templates() | sentences()).items()
        if (names := inner_names(text))
    }
    assert not found


def models() -> Iterator[type[BaseModel]]:
    """All that validates what comes from outside."""
    for package in (pipelines, studio):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if re.search(r"request|_api|bodies|settings|exchange|file_format|control", module.name):
                importlib.import_module(module.name)
    waiting, seen = [BaseModel], set()
    while waiting:
        for model in waiting.pop().__subclasses__():
            if model not in seen:
                seen.add(model)
                waiting.append(model)
                if model.__module__.partition(".")[0] in ("pipelines", "studio"):
                    yield model


def refusals(model: type[BaseModel]) -> Iterator[BadRequest]:
    fields = [field.alias or name for name, field in model.model_fields.items()]
    changed = [{name: value} for name in fields for value in STRANGE]
    for data in ({}, [], None, {"nothing": 1}, *changed):
        try:
            validate(model, data)
        except BadRequest as error:
            yield error


def test_no_value_of_a_request_is_refused_with_an_inner_name():
    found = {}
    for model in models():
        for error in refusals(model):
            if names := inner_names(sentence := translate(error.message, "en")):
                found[f"{model.__name__}: {sentence[:200]}"] = names
    assert not found


class Role(BaseModel):
    role: str
    parts: list[str | int] = []


class Talk(BaseModel):
    messages: tuple[Role, ...]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"messages": [{}]}, "role (messages, entry 1) is missing."),
        ({"messages": [{"role": 7}]}, "role (messages, entry 1) cannot be 7: it must be text."),
        ({"messages": [{"role": "a"}, 7]},
         "messages, entry 2 cannot be 7: it must be an object of names and values."),
        ({"messages": [{"role": "a", "parts": ["a", None]}]},
         "parts, entry 2 (messages, entry 1) cannot be null: it must be text."),
        ({"messages": "x"}, "messages cannot be x: it must be a list."),
        ({}, "messages is missing."),
        (7, "The whole cannot be 7: it must be an object of names and values."),
    ],
)  # fmt: skip
def test_a_place_in_the_data_is_told_as_one_would_say_it(data, sentence):
    with pytest.raises(BadRequest) as caught:
        validate(Talk, data)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (KeyError(36), "Atelier itself has failed here."),
        (TypeError("'NoneType' object is not iterable"), "Atelier itself has failed here."),
        (ValueError(), "Atelier itself has failed here."),
        (RuntimeError("CUDA error: device-side assert\nmore"), "CUDA error: device-side assert."),
        (OSError(5, "Input/output error"), "Input/output error"),
        (ValueError("RuntimeError: too late"), "This has failed: too late."),
        (Exception("Exception: too late"), "This has failed: too late."),
        (RuntimeError("Error(s) in loading state_dict for U:\n\tMissing"), "Atelier itself has"),
        (ValueError("expected one of <class 'int'>"), "Atelier itself has failed here."),
        (
            RuntimeError("Exception from src/inference/src/cpp/core.cpp:117:\nand more"),
            "Atelier itself",
        ),
        (RuntimeError("TypeError: 'NoneType' object is not iterable"), "Atelier itself has failed"),
    ],
)
def test_what_was_not_foreseen_is_told_without_the_names_of_errors(error, sentence):
    for language in LANGUAGES:
        shown = translate(unforeseen(error), language)
        assert not inner_names(shown)
        assert language != "en" or sentence in shown
    wrapped = Message("The training ended with an error: {reason}", reason=f"KeyError: {error}")
    assert not inner_names(translate(wrapped, "en"))


class BrokenProcessPool(RuntimeError):  # as libraries call some
    pass


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (BrokenProcessPool("a worker has ended"), "a worker has ended"),
        (BrokenProcessPool(), "a fault of Atelier's own, whose cause its log has"),
        (StopIteration(), "a fault of Atelier's own, whose cause its log has"),
        (OSError("the cable is loose"), "the cable is loose"),
        (Exception("too late"), "too late"),
        (KeyError(36), "a fault of Atelier's own, whose cause its log has"),
    ],
)
def test_a_reason_holds_no_name_of_an_error_whatever_it_is_called(error, shown):
    said = Message("It ended with an error: {reason}", reason=reason_of(error))
    assert translate(said, "en") == f"It ended with an error: {shown}"


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("[Errno 28] No space left on device: '/home/ada/.atelier/outputs/a b.png'", "'a b.png'"),
        ("Permission denied: 'C:\\\\Users\\\\ada\\\\x.db'", "denied: 'x.db'"),
        ("cannot open /srv/atelier/models/x.safetensors (cut off)", "open x.safetensors (cut off)"),
        ("OSError: '/srv/a/b/' -> '/srv/a/c'", "'b' -> 'c'"),
        ("~/.atelier/models/y.bin and file:///srv/ada/z.bin", "y.bin and z.bin"),
    ],
)
def test_no_reason_tells_of_the_host_s_folders(reason, shown):
    said = Message("The checkpoint could not be written ({reason}).", reason=reason)
    for message in (said, unforeseen(RuntimeError(reason))):
        sentence = translate(message, "en")
        assert shown in sentence
        assert not re.search("ada|srv|home|Users|atelier/", sentence)


@pytest.mark.parametrize(
    "text", ["see https://example.org/a/b/c", "3 km/h", "and/or a/b", "1/2 of 3/4", "it's 5' / 6'"]
)
def test_what_is_no_folder_stays(text):
    assert without_folders(text) == text


def test_a_full_disk_tells_guests_nothing_of_its_folders(tmp_path, caplog):
    assert str(tmp_path.parent) not in str(disk_full(2_500_000, tmp_path))
    assert str(tmp_path) in caplog.text  # the host reads it there


def test_a_person_s_own_words_are_not_touched():
    said = UserError("You have no conversation {id}.", id="KeyError: 36")
    assert translate(said.message, "en") == "You have no conversation KeyError: 36."
