"""Of a page's watches only the newest shows anything, and none overtakes another."""

import asyncio
import copy
import functools

import gradio as gr

from studio.page.components.latest_watch import Turns, ending_silently
from tests.patience import PATIENCE


async def watch(turns: Turns, what: str):
    own = turns.begin()
    while True:
        async with turns.of(own) as may_show:
            if not may_show:
                return
            yield what


def test_a_newer_watch_shows_nothing_while_an_older_ones_last_is_on_its_way():
    async def pages():
        turns = Turns()
        older, newer = watch(turns, "older"), watch(turns, "newer")
        assert await anext(older) == "older"  # handed over, and not yet on the page
        first = asyncio.ensure_future(anext(newer))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not first.done()
        last = asyncio.ensure_future(anext(older, "ended"))  # it is on the page; the older goes on
        assert await asyncio.wait_for(first, PATIENCE) == "newer"
        await newer.aclose()
        assert await asyncio.wait_for(last, PATIENCE) == "ended"

    asyncio.new_event_loop().run_until_complete(pages())


def test_a_watch_that_is_cut_off_lets_the_next_one_show():
    async def pages():
        turns = Turns()
        older = watch(turns, "older")
        await anext(older)
        await older.aclose()  # the page has gone
        newer = watch(turns, "newer")
        assert await asyncio.wait_for(anext(newer), PATIENCE) == "newer"
        await newer.aclose()

    asyncio.new_event_loop().run_until_complete(pages())


def test_pages_have_turns_of_their_own():
    async def pages():
        one = Turns()
        another = copy.deepcopy(one)  # as Gradio's state does for each page
        older, newer = watch(one, "one"), watch(another, "another")
        assert await anext(older) == "one"
        assert await asyncio.wait_for(anext(newer), PATIENCE) == "another"
        await older.aclose()
        await newer.aclose()

    asyncio.new_event_loop().run_until_complete(pages())


def test_the_last_word_of_a_watch_changes_nothing():
    async def page():
        turns = Turns()
        shown = ending_silently(functools.partial(watch, turns), 1)("a board")
        assert await anext(shown) == "a board"
        turns.begin()
        assert [values async for values in shown] == [[gr.skip()]]

    asyncio.new_event_loop().run_until_complete(page())
