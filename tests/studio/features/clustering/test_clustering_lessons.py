from __future__ import annotations

import re

import pytest

from pipelines.clustering.lessons import LESSONS, lesson
from studio.i18n import LANGUAGES, texts


@pytest.mark.parametrize("name", LESSONS)
def test_settings_and_data_sets_have_the_labels_of_the_page_in_chinese_too(name):
    english, chinese = (
        re.sub(r"\$\$.+?\$\$|\$.+?\$", "", lesson(name, language), flags=re.DOTALL)
        for language in LANGUAGES
    )
    for marks in (r"\*\*(.+?)\*\*", r"(?<!\*)\*([^*]+)\*(?!\*)", r"`(.+?)`"):
        said = set(re.findall(marks, english))
        assert {texts("zh").get(label, label) for label in said} == set(re.findall(marks, chinese))


@pytest.mark.parametrize("name", LESSONS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_emphasis_stands_where_markdown_sees_it(name, language):
    """Beside a bracket or quotation mark inside it, ``**`` needs a space or a mark outside."""
    words = re.sub(r"\$\$.+?\$\$|\$.+?\$", "", lesson(name, language), flags=re.DOTALL)
    parts = words.split("**")
    assert len(parts) % 2
    for before, after in zip(parts[:-1:2], parts[2::2], strict=True):
        assert not re.search(r"\w$", before)
        assert not re.match(r"\w", after)
