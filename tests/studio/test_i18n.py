from __future__ import annotations

import ast
import functools
import json
import pickle
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines.core import errors
from pipelines.core.messages import Message
from pipelines.dreambooth.requests import TrainingRequest
from studio.core.gallery import infotext_change, infotext_details, infotext_parts
from studio.features.training.training_form import EXPLAINED
from studio.i18n import language_of, texts, translate
from studio.page.widgets import shown_part

ROOT = Path(__file__).parents[2]
SPEAKERS = ("say", "label", "notice", "summary", "empty", "empty_panel")


class Source(NamedTuple):
    """What is looked at of a module."""

    path: Path
    calls: list[ast.Call]
    classes: list[ast.ClassDef]
    handlers: list[ast.ExceptHandler]
    constants: dict[str, ast.expr]

    def place(self, node: ast.Call | ast.keyword) -> str:
        return f"{self.path.relative_to(ROOT)}:{node.lineno}"


@functools.cache
def sources() -> list[Source]:
    """All modules; each is read and walked through once, which takes a while."""
    found = []
    for path in sorted(
        each for part in ("pipelines", "studio") for each in (ROOT / part).rglob("*.py")
    ):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls, classes, handlers = [], [], []
        of_class = {ast.Call: calls, ast.ClassDef: classes, ast.ExceptHandler: handlers}
        for node in ast.walk(tree):
            if (nodes := of_class.get(type(node))) is not None:
                nodes.append(node)
        constants = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        found.append(Source(path, calls, classes, handlers, constants))
    return found


def error_classes() -> set[str]:
    """``Message``, ``UserError`` and all that derive from it, by name."""
    names = {"Message", "UserError"}
    while True:
        found = {
            node.name
            for source in sources()
            for node in source.classes
            if any(isinstance(base, ast.Name) and base.id in names for base in node.bases)
        }
        if found <= names:
            return names
        names |= found


@functools.cache
def templates() -> dict[str, str]:
    """Every literal template of the sources, with the place where it stands."""
    makers = error_classes()
    found = {}
    for source in sources():
        for node in source.calls:
            if not node.args:
                continue
            called = node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", None)
            is_super = (
                isinstance(called, ast.Attribute)
                and called.attr == "__init__"
                and isinstance(called.value, ast.Call)
                and getattr(called.value.func, "id", "") == "super"
            )
            if name in makers or is_super:
                found |= dict.fromkeys(literals(node.args[0], {}), source.place(node))
    found |= {template: "pipelines/core/errors.py" for template, _ in errors._LIMITS.values()}
    found[errors._OTHER] = "pipelines/core/errors.py"
    return found


@functools.cache
def sentences() -> dict[str, str]:
    """Every literal that the page says or labels something with, and where it stands.

    Titles and descriptions of requests' fields are among them; of a description, the part that
    the page shows.
    """
    found = {}
    for source in sources():
        constants = source.constants
        for node in source.calls:
            texts_here: set[str] = set()
            name = getattr(node.func, "id", getattr(node.func, "attr", None))
            if name in SPEAKERS:
                texts_here = {text for each in node.args for text in literals(each, constants)}
            elif name == "Field":
                given = {each.arg: set(literals(each.value, constants)) for each in node.keywords}
                texts_here = given.get("title", set())
                texts_here |= {shown_part(each) for each in given.get("description", ())}
            found |= dict.fromkeys(texts_here - {""}, source.place(node))
    return found


def literals(node: ast.expr, constants: dict[str, ast.expr]) -> Iterator[str]:
    """The texts that an expression may be, as far as they stand in its module."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*literals(node.body, constants), *literals(node.orelse, constants))
    elif isinstance(node, ast.Name) and node.id in constants:
        yield from literals(constants[node.id], {})
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        table = constants.get(node.value.id)
        for value in table.values if isinstance(table, ast.Dict) else ():
            yield from literals(value, {})
    elif isinstance(node, ast.List | ast.Tuple):
        for each in node.elts:
            yield from literals(each, constants)


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_every_message_has_a_chinese_translation():
    chinese = texts("zh")
    missing = [f"{place}: {text}" for text, place in templates().items() if text not in chinese]
    assert not missing, "\n".join(missing)


def test_all_that_the_page_says_has_a_chinese_translation():
    chinese = texts("zh")
    missing = [f"{place}: {text}" for text, place in sentences().items() if text not in chinese]
    assert not missing, "\n".join(missing)


def test_where_an_empty_field_is_explained_that_is_translated_too():
    chinese = texts("zh")
    for name in EXPLAINED:
        assert TrainingRequest.model_fields[name].description in chinese


@pytest.mark.parametrize("language", ["en", "zh"])
def test_translations_name_no_other_values_than_the_original(language: str):
    for english, translated in texts(language).items():
        assert fields(translated) <= fields(english), english


def test_values_are_put_into_the_translation():
    message = Message(
        "{name} cannot be a user name: use 1 to 40 letters, digits, dots, dashes or spaces.",
        name="'?'",
    )
    assert translate(message, "en").startswith("'?' cannot be")
    assert "'?'" in translate(message, "zh")
    assert translate(message, "zh") != translate(message, "en")


def test_field_goes_by_its_translated_label():
    message = Message(
        "{field} is {value}; it must be at least {limit}.", field="Steps", value=0, limit=1
    )
    assert texts("zh")["Steps"] in translate(message, "zh")
    assert "Steps" in translate(message, "en")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_sentence_can_always_be_sent(language: str):
    message = Message("There is no model called {model}. See the list of models.", model="\ud800")
    assert "?" in translate(message, language).encode().decode()


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("Reading the picture: {preprocessor}", "preprocessor"),
        (
            "{model} has not been downloaded yet, and only the host may do that. "
            "Choose another way to read the picture.",
            "model",
        ),
    ],
)
def test_ways_to_read_a_picture_go_by_their_translated_titles(template, name):
    message = Message(template, **{name: "Canny edges"})
    assert "Canny 边缘" in translate(message, "zh")
    assert "Canny edges" in translate(message, "en")
    assert "my own" in translate(Message(template, **{name: "my own"}), "zh")


def test_unknown_text_stays_english():
    assert translate("not in any table", "zh") == "not in any table"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("zh", "zh"),
        ("zh-HK", "zh"),
        ("zh-Hant-TW,en;q=0.5", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.5, zh-TW;q=0.7", "zh"),
        ("fr-FR,fr;q=0.9,zh;q=0.1", "zh"),
        ("fr", "en"),
        ("zh;q=0", "en"),
        ("zh;q=abc", "en"),
        ("*;q=0.1,,;;", "en"),
    ],
)
def test_language_follows_the_browser(header: str | None, language: str):
    assert language_of(header) == language


def test_sentences_within_a_sentence_are_translated_too_also_when_they_were_stored():
    template = "{value} has a step of 0. Write another number into its brackets."
    reason = Message(template, value="1-5")
    one = Message("Line {number} of the list {name} cannot be read: {reason}",
                  number=3, name="hues", reason=reason)  # fmt: skip
    several = errors.BadRequest(
        "{count} cells of the grid cannot be painted: {reasons}",
        count=2,
        reasons=[Message("({cell}) {reason}", cell="Steps: 0", reason=one),
                 Message("(+ {count})", count=1)],
    )  # fmt: skip
    english = (
        "2 cells of the grid cannot be painted: (Steps: 0) Line 3 of the list hues cannot be read: "
        "1-5 has a step of 0. Write another number into its brackets. (+ 1)"
    )
    assert str(several) == english
    stored = Message.from_json(json.loads(json.dumps(several.message.to_json())))
    for message in (
        several.message,
        stored,
        Message.from_untrusted_json(several.message.to_json(), depth=3),
    ):
        assert translate(message, "en") == english
        chinese = translate(message, "zh")
        assert not re.search("cannot|step|Write|list", chinese), chinese
        assert "Steps: 0" in chinese
        assert "hues" in chinese
    assert hash(stored) == hash(several.message)
    assert stored == pickle.loads(pickle.dumps(several)).message
    with pytest.raises(ValueError, match="neither text nor number"):
        Message.from_untrusted_json(several.message.to_json(), depth=1)


def nested_reasons() -> list[str]:
    """The places where a sentence for people is put into another as a plain text."""
    found = []
    for source in sources():
        for handler in source.handlers:
            if handler.name is None:
                continue
            kinds = {each.id for each in ast.walk(handler.type) if isinstance(each, ast.Name)}
            if not kinds & error_names():
                continue
            found += [
                source.place(node)
                for node in ast.walk(handler)
                if isinstance(node, ast.keyword)
                and isinstance(node.value, ast.Call)
                and ast.unparse(node.value) == f"str({handler.name})"
            ]
    return found


@functools.cache
def error_names() -> frozenset[str]:
    return frozenset(error_classes() - {"Message"})


def test_no_sentence_is_put_into_another_as_a_text_that_cannot_be_translated():
    assert not nested_reasons()


def test_reasons_that_fields_of_a_chat_model_s_file_give_have_chinese():
    tree = ast.parse((ROOT / "pipelines/chat/entries.py").read_text(encoding="utf-8"))
    raised = [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "ValueError"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert raised
    assert {f"{text}." for text in raised} <= texts("zh").keys()


def test_names_of_settings_in_files_have_chinese():
    """Below a picture the page says them, as A1111 calls them, in the reader's language."""
    names = infotext_change.NAMES | infotext_details.NAMES
    names |= {*infotext_parts.HIRES, *infotext_parts.VARIATION, infotext_parts.DECODER}
    names |= {"Init image size", "Init image hash", "Postprocess upscale by", "Template"}
    names |= {f"{axis} {part}" for axis in "XYZ" for part in ("Type", "Values")}
    assert names <= texts("zh").keys()
