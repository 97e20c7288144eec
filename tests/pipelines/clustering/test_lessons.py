from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import yaml

from pipelines.clustering.algorithms.registry import ALGORITHMS, find
from pipelines.clustering.data.sample_data import SOURCES, DatasetRequest
from pipelines.clustering.lessons import FOLDER, LESSONS, lesson
from pipelines.core.errors import NotFound
from tests.pipelines.clustering.trials import trials

LANGUAGES = ("en", "zh")
HEADINGS = {
    "en": ["Objective", "Steps", "Settings", "Limits", "Try it", "Source"],
    "zh": ["目标", "步骤", "设置", "局限", "试一试", "出处"],
}
EVERY = pytest.mark.parametrize("name", LESSONS)
IN_BOTH = pytest.mark.parametrize("language", LANGUAGES)


def part(words: str, language: str, heading: int) -> str:
    """The words below the heading of that number."""
    return words.split("#### ")[heading + 1].removeprefix(HEADINGS[language][heading])


def formulas(words: str) -> tuple[list[str], list[str]]:
    """What stands between $$ and $$, and between $ and $."""
    displayed = re.findall(r"\$\$(.+?)\$\$", words, flags=re.DOTALL)
    return displayed, re.findall(r"\$(.+?)\$", re.sub(r"\$\$.+?\$\$", "", words, flags=re.DOTALL))


def test_there_is_a_lesson_for_every_algorithm_and_one_on_choosing_and_no_file_more():
    assert set(LESSONS) == {*ALGORITHMS, "choosing"}
    assert {path.stem for path in FOLDER.iterdir()} == set(LESSONS)


@EVERY
def test_a_lesson_has_the_same_parts_in_both_languages(name):
    english, chinese = (lesson(name, language) for language in LANGUAGES)
    assert english != chinese
    for words, language in ((english, "en"), (chinese, "zh")):
        assert re.findall(r"^#### (.+)$", words, flags=re.MULTILINE) == HEADINGS[language]
    assert len(re.findall(r"[\u4e00-\u9fff]", chinese)) > 200
    assert not re.search(r"[\u4e00-\u9fff]", english)


@EVERY
def test_a_lesson_is_short(name):
    without = re.sub(r"\$\$.+?\$\$", "", lesson(name, "en"), flags=re.DOTALL)
    assert 150 <= len(re.sub(r"\$.+?\$", "x", without).split()) <= 290


@EVERY
@IN_BOTH
def test_every_formula_has_its_dollars_and_braces(name, language):
    words = lesson(name, language)
    displayed, inline = formulas(words)
    assert displayed, "an objective in its own line"
    left = re.sub(r"\$.+?\$", "", re.sub(r"\$\$.+?\$\$", "", words, flags=re.DOTALL))
    assert "$" not in left
    assert "\\" not in left
    for formula in displayed + inline:
        assert "$" not in formula
        # "<" would begin an HTML tag; Chinese has no glyphs in KaTeX's fonts
        assert not re.search(r"[<\u4e00-\u9fff]", formula)
        bare = re.sub(r"\\[{}]", "", formula)
        depth = np.cumsum([(sign == "{") - (sign == "}") for sign in bare] or [0])
        assert depth[-1] == 0
        assert (depth >= 0).all()
        sizes = [re.findall(rf"\\{side}(?![a-z])", formula) for side in ("bigl", "bigr")]
        assert len(sizes[0]) == len(sizes[1])
    assert all("\n" not in formula for formula in inline)


@EVERY
def test_both_languages_have_the_same_formulas_on_their_own_lines(name):
    english, chinese = (formulas(lesson(name, language))[0] for language in LANGUAGES)
    # A comma at the end belongs to the sentence.
    assert [each.rstrip(",") for each in english] == [each.rstrip(",") for each in chinese]


@EVERY
def test_bold_words_are_settings_and_slanted_ones_data_sets(name):
    chosen = [find(trial.algorithm) for trial in trials(name) if trial.algorithm]
    models = [each.parameters for each in (chosen if name in ALGORITHMS else ALGORITHMS.values())]
    known = {field.title for model in models for field in model.model_fields.values()}
    known |= {field.title for field in DatasetRequest.model_fields.values()} | {"Scaling"}
    words = lesson(name, "en")
    assert set(re.findall(r"\*\*(.+?)\*\*", words)) <= known
    plain = re.sub(r"\*\*.+?\*\*", "", words)
    plain = re.sub(r"\$\$.+?\$\$|\$.+?\$", "", plain, flags=re.DOTALL)
    slanted = set(re.findall(r"\*(.+?)\*", plain))
    assert slanted == {SOURCES[trial.data.name].title for trial in trials(name)}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_lesson_names_every_setting_of_its_algorithm(name):
    bold = set(re.findall(r"\*\*(.+?)\*\*", lesson(name, "en")))
    titles = {field.title for field in ALGORITHMS[name].parameters.model_fields.values()}
    assert titles <= bold


@EVERY
@IN_BOTH
def test_words_in_code_are_values_that_a_setting_can_have(name, language):
    schemas = [each.parameters.model_json_schema() for each in ALGORITHMS.values()]
    values = {value for schema in schemas for value in enums(schema)}
    classes = {each.call(each.parameters(), 0).name for each in ALGORITHMS.values()}
    assert set(re.findall(r"`(.+?)`", lesson(name, language))) <= values | classes


def enums(schema) -> set[str]:
    if isinstance(schema, list):
        return {value for each in schema for value in enums(each)}
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("enum", ())) | enums(list(schema.values()))


@EVERY
@IN_BOTH
def test_the_words_name_the_values_of_their_trials(name, language):
    words = part(lesson(name, language), language, 4)
    default = DatasetRequest()
    for trial in trials(name):
        said = dict(trial.parameters)
        said |= {
            key: value
            for key, value in trial.data.model_dump().items()
            if key != "name" and value != getattr(default, key)
        }
        for key, value in said.items():
            if value is None:
                assert "empty" in words or "留空" in words
                continue
            text = f"{value:,}" if isinstance(value, int) else str(value)
            assert re.search(rf"(?<![\d.]){re.escape(text)}(?![\d.]\d)", words), (key, value)


def test_a_language_without_words_falls_back_to_english():
    assert lesson("dbscan", "fr") == lesson("dbscan", "en")


@pytest.mark.parametrize("name", ["dbscam", "../models", ""])
def test_an_unknown_lesson_is_named_with_those_that_come_close(name):
    with pytest.raises(NotFound, match="There is no lesson called"):
        lesson(name, "en")


def test_no_file_is_read_before_its_lesson_is_asked_for():
    code = (
        "import sys, yaml; read = []; was = yaml.safe_load\n"
        "yaml.safe_load = lambda text: read.append(1) or was(text)\n"
        "from pipelines.clustering.lessons import lesson\n"
        "assert not read; lesson('kmeans', 'en'); lesson('kmeans', 'zh'); print(len(read))\n"
        "assert 'sklearn' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


@EVERY
def test_a_file_has_nothing_but_words_and_trials(name):
    data = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    assert set(data) == {"words", "trials"}
    assert set(data["words"]) == set(LANGUAGES)
    assert data["trials"]
