"""A job is watched by all pages at once, and of a page's watches only the newest shows anything."""

import asyncio
import copy
import functools
from types import SimpleNamespace

import gradio as gr

from studio.core.accounts.accounts import LOCAL_OWNER
from studio.page.components.job_view import (
    NEWEST,
    OPENED,
    Frame,
    JobView,
    LatestWatch,
    Renderer,
    _ending_silently,
)
from tests.patience import PATIENCE


async def watch(latest: LatestWatch, what: str):
    own = latest.begin()
    while True:
        async with latest.of(own) as may_show:
            if not may_show:
                return
            yield what


def test_a_newer_watch_shows_nothing_while_an_older_ones_last_is_on_its_way():
    async def pages():
        latest = LatestWatch()
        older, newer = watch(latest, "older"), watch(latest, "newer")
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
        latest = LatestWatch()
        older = watch(latest, "older")
        await anext(older)
        await older.aclose()  # the page has gone
        newer = watch(latest, "newer")
        assert await asyncio.wait_for(anext(newer), PATIENCE) == "newer"
        await newer.aclose()

    asyncio.new_event_loop().run_until_complete(pages())


def test_pages_have_turns_of_their_own():
    async def pages():
        one = LatestWatch()
        another = copy.deepcopy(one)  # as Gradio's state does for each page
        older, newer = watch(one, "one"), watch(another, "another")
        assert await anext(older) == "one"
        assert await asyncio.wait_for(anext(newer), PATIENCE) == "another"
        await older.aclose()
        await newer.aclose()

    asyncio.new_event_loop().run_until_complete(pages())


def test_the_last_word_of_a_watch_changes_nothing():
    async def page():
        latest = LatestWatch()
        shown = _ending_silently(functools.partial(watch, latest), 1)("a panel")
        assert await anext(shown) == "a panel"
        latest.begin()
        assert [values async for values in shown] == [[gr.skip()]]

    asyncio.new_event_loop().run_until_complete(page())


REQUEST = SimpleNamespace(state=SimpleNamespace(owner=LOCAL_OWNER), headers={})


class Counted(Renderer):
    """Shows how often the one job has been looked at, and a button; ends at ``last``."""

    look_seconds = 0.001

    def __init__(self, last: int) -> None:
        self.outputs, self.last, self.looks, self.ended = [gr.HTML(), gr.Button()], last, 0, False

    def begin(self, visitor, refusal, which, values):
        def look() -> Frame:
            self.looks += 1
            self.ended = self.looks >= self.last
            panel = f"{refusal}{''.join(values)}{self.looks}"
            return Frame("job", [panel, gr.update(visible=not self.ended)], self.ended)

        return look

    def find(self, visitor, which):
        return self


def view_of(renderer: Renderer, **options) -> JobView:
    with gr.Blocks():
        return JobView(SimpleNamespace(), "draw", renderer, **options)


def follow(view: JobView, latest: LatestWatch, *values, refusal="", which=OPENED):
    return view._follow(refusal, which, latest, REQUEST, *values)


def run(pages):
    asyncio.new_event_loop().run_until_complete(asyncio.wait_for(pages, PATIENCE))


def test_only_what_has_changed_is_sent():
    async def page():
        view = view_of(Counted(3))
        sent = [each async for each in follow(view, LatestWatch(), "a", refusal="no ")]
        running, hidden, skip = gr.update(visible=True), gr.update(visible=False), gr.skip()
        assert sent == [
            ["job", "no a1", running],
            [skip, "no a2", skip],
            [skip, "no a3", hidden],
        ]

    run(page())


def test_many_pages_of_an_owner_look_at_a_job_once():
    async def pages():
        renderer = Counted(40)
        view = view_of(renderer)
        sent = await asyncio.gather(*(_all(follow(view, LatestWatch())) for _ in range(5)))
        assert renderer.looks == 40
        assert {each[-1][1] for each in sent} == {"40"}

    run(pages())


def test_what_a_page_s_own_values_draw_is_not_shared():
    async def pages():
        view = view_of(Counted(40), values=[gr.Number()])
        both = (_all(follow(view, LatestWatch(), each)) for each in "ab")
        one, another = await asyncio.gather(*both)
        assert (one[0][1][0], another[0][1][0]) == ("a", "b")

    run(pages())


def test_a_watch_ends_when_the_page_watches_anew():
    async def page():
        view, latest = view_of(Counted(10**9)), LatestWatch()
        older = follow(view, latest)
        await anext(older)
        newer = follow(view, latest, which=NEWEST)
        ended = asyncio.ensure_future(_all(older))  # its first is on the page
        # A page takes all that comes: a watch whose values nobody takes holds up all others.
        following = asyncio.ensure_future(_all(newer))
        await ended
        following.cancel()
        await asyncio.wait([following])

    run(page())


def test_a_job_that_came_while_the_last_one_ended_is_watched_too():
    class Next(Counted):
        def find(self, visitor, which):
            if self.ended and self.last == 2:
                self.last, self.ended = 4, False
            return self

    async def page():
        assert (await _all(follow(view_of(Next(2)), LatestWatch())))[-1][1] == "4"

    run(page())


def test_the_last_state_is_sent_again_to_a_busy_browser_but_for_what_may_be_open_by_now():
    class Repeated(Counted):
        repeated = 1

    async def page():
        sent = await _all(follow(view_of(Repeated(1)), LatestWatch()))
        assert sent == [["job", "1", gr.update(visible=False)], ["job", "1", gr.skip()]]

    run(page())


async def _all(shown):
    return [each async for each in shown]
