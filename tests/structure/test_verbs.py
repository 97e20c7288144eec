"""Functions are verbs or nouns: no name is a bare participle, such as ``kept`` or ``fitting``."""

from __future__ import annotations

import ast
import re

import pytest

from tests.structure.sources import python_files, source_of, statements_of, tracked_files

WHERE = ("app.py", "benchmarks", "examples", "pipelines", "studio", "tests")
# Those that do not end in -ed, and are not the verb itself, as "cut", "put" and "read" are.
PARTICIPLE = re.compile(
    "begun|bent|bitten|blown|borne|bought|bound|broken|brought|built|burnt|caught|chosen|come|"
    "dealt|done|drawn|driven|dug|eaten|fallen|fed|felt|flown|forgotten|foretold|fought|found|"
    "frozen|given|gone|grown|heard|held|hidden|hung|kept|knelt|known|laid|learnt|led|left|lent|"
    "lost|made|meant|met|mistaken|outlived|overwritten|paid|proven|rebuilt|redone|redrawn|"
    "rewritten|ridden|risen|rung|said|seen|sent|shaken|shown|sold|sought|spent|spoken|stolen|"
    "stood|struck|stuck|swept|sworn|taken|taught|thought|thrown|told|torn|understood|undone|"
    "withdrawn|woken|won|worn|written|unkept|unmade|unseen|unsent|unwritten|[a-z]{2,}ed"
)
VERBS_AND_NOUNS = {"bleed", "breed", "come", "embed", "exceed", "feed", "hundred", "need",
                   "proceed", "seed", "shed", "speed", "succeed", "weed"}  # fmt: skip
PRESENT_PARTICIPLE = re.compile(r"[a-z]{2,}ing")
NO_PARTICIPLES = {
    "anything", "bring", "ceiling", "everything", "king", "nothing", "ping", "ring", "sibling",
    "something", "spring", "string", "swing", "thing", "wing",
    # the field's nouns, for what a function returns
    "embedding",  # a model's table of vectors
    "padding",  # what a tensor is filled up with
}  # fmt: skip
# What may stand beside a participle without making a phrase of it.
PARTICLES = {"again", "all", "already", "anew", "apart", "as", "at", "away", "by", "down", "for",
             "from", "here", "in", "into", "not", "of", "off", "on", "once", "out", "over", "so",
             "to", "together", "up", "well", "with"}  # fmt: skip

# Functions of scripts: declared, kept in a name or a field, or methods; getters are left out.
_ARROW = r"(?:async\s*)?(?:\([^()]*(?:\([^()]*\)[^()]*)*\)|[\w$]+)\s*=>"
SCRIPT_FUNCTION = re.compile(
    r"\bfunction\*?\s+([\w$]+)\s*\("
    rf"|\b(?:const|let|var)\s+([\w$]+)\s*=\s*{_ARROW}"
    rf"|^\s*([\w$]+)\s*:\s*{_ARROW}"
    r"|^\s+(?:async |static )*#?([\w$]+)\s*\([^()]*\)\s*\{",
    re.MULTILINE,
)
SCRIPT_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


def is_participle(word: str) -> bool:
    return word not in VERBS_AND_NOUNS and PARTICIPLE.fullmatch(word) is not None


def is_present_participle(word: str) -> bool:
    return word not in NO_PARTICIPLES and PRESENT_PARTICIPLE.fullmatch(word) is not None


def is_bare_participle(name: str) -> bool:
    words = name.strip("_").split("_")
    found = [is_participle(word) or is_present_participle(word) for word in words]
    return any(found) and all(
        is_one or word in PARTICLES for word, is_one in zip(words, found, strict=True)
    )


def is_an_adjective(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is read as an attribute is, and its name says what has been: ``job.ended``."""
    is_a_property = any("property" in ast.unparse(each) for each in function.decorator_list)
    return is_a_property and not is_present_participle(function.name.split("_")[-1])


def test_no_function_is_called_by_a_bare_participle():
    found = {
        (f"{file}:{node.lineno}", node.name)
        for file in python_files(*WHERE)
        for node in statements_of(file)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and is_bare_participle(node.name)
        and not is_an_adjective(node)
    }
    assert sorted(found) == [], "call them by a verb or a noun"


def test_no_function_of_a_script_is_called_by_a_bare_participle():
    found = {
        (file, name)
        for file in tracked_files()
        if file.endswith(".js")
        for name in script_functions(source_of(file))
        if is_bare_participle("_".join(SCRIPT_WORD.findall(name)).lower())
    }
    assert sorted(found) == [], "call them by a verb or a noun"


def script_functions(text: str) -> list[str]:
    return [next(filter(None, match.groups())) for match in SCRIPT_FUNCTION.finditer(text)]


def test_functions_of_scripts_are_found():
    text = """
function told(x) {}
const kept = (value, other = f(1)) => value;
class Plot {
  async #leftOut(count) {
  get moved() {
    done: (facts) => 1,
"""
    assert script_functions(text) == ["told", "kept", "leftOut", "done"]


@pytest.mark.parametrize(
    "name", ["told", "_kept", "taken_apart", "made_by", "unfinished", "held",
             "fitting", "_laying_out", "for_training", "asked_reading"]
)  # fmt: skip
def test_a_bare_participle_is_known(name):
    assert is_bare_participle(name)


@pytest.mark.parametrize(
    "name", ["tell", "read", "put", "list_kept", "models_of", "needed_bytes", "is_done", "embed",
             "string", "embedding", "list_fitting", "is_running"]
)  # fmt: skip
def test_verbs_nouns_and_phrases_are_none(name):
    assert not is_bare_participle(name)
