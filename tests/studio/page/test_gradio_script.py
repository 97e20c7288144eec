"""The one script of Gradio's page that is sent changed."""

from __future__ import annotations

from studio.page.gradio_script import INDEXED, SEARCH, find_script


def test_the_search_is_in_the_installed_script_and_is_replaced_there():
    found = find_script()
    assert found is not None, "Gradio writes the search in another way now: look at its core-*.js."
    name, text = found
    assert name.startswith("core-")
    assert text.count(INDEXED) == 1
    assert SEARCH not in text
