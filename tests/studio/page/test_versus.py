"""Two pictures with a slider between them, as HTML."""

from __future__ import annotations

from studio.core.accounts.accounts import LOCAL_OWNER
from studio.page.components.versus import versus
from studio.page.widgets import Visitor

VISITOR = Visitor(LOCAL_OWNER, "en")
WORDS = {"alt": "The picture before", "slider": "Between before and after"}


def test_the_slider_lies_between_the_picture_and_the_others():
    html = versus("a-picture", ["maps/0.png", "maps/1.png"], VISITOR, **WORDS)
    assert 'src="pictures/a-picture.png"' in html
    assert html.count("maps/0.png") == 2  # shown, and to choose
    assert html.count("maps/1.png") == 1
    assert "<button" not in versus("a-picture", ["maps/0.png"], VISITOR, **WORDS)


def test_nothing_in_an_id_becomes_html():
    script = '"><script>'
    assert "<script" not in versus(script, [script], VISITOR, **WORDS)


def test_what_was_smaller_lies_where_it_was_in_the_picture():
    html = versus("a-picture", ["a.png"], VISITOR, **WORDS, fit="fill", sides=(0.25, 0, 0.5, 0.1))
    assert 'style="object-fit: fill; padding: 0.000% 50.000% 10.000% 25.000%"' in html
