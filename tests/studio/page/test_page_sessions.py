"""What is kept of an open page is little, and goes with it."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from datetime import timedelta

import gradio as gr
import pytest

from studio.page import sessions as page_sessions
from studio.page.sessions import IDLE_SECONDS, MAX_MAILBOXES, UNREAD_SECONDS, Sessions
from tests.clock import set_clock


@pytest.fixture(scope="module")
def blocks() -> gr.Blocks:
    with gr.Blocks() as made:
        made.chosen = gr.State([])
        made.boxes = [gr.Textbox(f"box {number}") for number in range(300)]
    return made


@pytest.fixture
def sessions(blocks) -> Sessions:
    app = gr.routes.App.create_app(blocks)
    Sessions.take_over(app)
    assert app.state_holder is blocks.state_holder
    return app.state_holder


def test_a_page_costs_a_few_kilobytes(sessions):
    sessions["first"]
    gc.collect()
    tracemalloc.start()
    for number in range(50):
        sessions[f"page{number}"]
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used / 50 < 10_000


def test_a_queue_without_events_rests(sessions, blocks, monkeypatch):
    looked_at = []  # also queues of studios that run beside this one
    monkeypatch.setattr(type(blocks._queue), "__len__", lambda queue: looked_at.append(queue) or 0)

    async def wait() -> None:
        task = asyncio.create_task(blocks._queue.start_processing())
        await asyncio.sleep(0.2)
        task.cancel()

    started = time.monotonic()
    asyncio.run(wait())
    looks = [queue for queue in looked_at if queue is blocks._queue]
    # Twice every hundredth of a second at most, not of a thousandth; a slow machine sleeps longer.
    assert 0 < len(looks) <= 220 * (time.monotonic() - started) + 4


def test_pages_have_values_of_their_own(sessions, blocks):
    one, other = sessions["one"], sessions["other"]
    one[blocks.chosen._id] = ["cat"]
    one[blocks.boxes[3]._id] = changed = gr.Textbox("changed", render=False)
    assert one[blocks.chosen._id] == ["cat"]
    assert one[blocks.boxes[3]._id] is changed
    assert other[blocks.chosen._id] == []
    assert other[blocks.boxes[3]._id] is blocks.boxes[3]
    assert sessions["one"][blocks.chosen._id] == ["cat"]


def test_a_closed_page_makes_room_first_then_the_one_used_longest_ago(sessions):
    sessions.capacity = 3
    for name in ("a", "b", "c"):
        sessions[name]
    sessions["b"].is_closed = True
    sessions["d"]
    assert list(sessions.session_data) == ["a", "c", "d"]
    sessions["a"]
    sessions["e"]
    assert list(sessions.session_data) == ["d", "a", "e"]


def test_a_page_that_asks_for_nothing_any_more_is_let_go(sessions):
    for name in ("old", "new"):
        sessions[name]
    sessions.time_last_used["old"] -= timedelta(seconds=IDLE_SECONDS + 1)
    sessions.delete_all_expired_state()
    assert list(sessions.session_data) == ["new"] == list(sessions.time_last_used)


def test_a_crowd_of_new_pages_does_not_cut_off_one_that_is_open(sessions, blocks):
    mailboxes = blocks._queue.pending_messages_per_session
    assert mailboxes is sessions.mailboxes
    mailboxes["open"] = asyncio.Queue()
    for number in range(2 * MAX_MAILBOXES):
        mailboxes[f"new{number}"] = asyncio.Queue()
        if number % (MAX_MAILBOXES // 2) == 0:
            mailboxes["open"].put_nowait(number)
    assert len(mailboxes) == MAX_MAILBOXES
    assert mailboxes["open"].qsize() == 4


def test_answers_that_no_page_asks_for_are_forgotten(sessions, monkeypatch):
    now = [100.0]
    set_clock(monkeypatch, page_sessions, monotonic=lambda: now[0])

    async def answer_both() -> list[int]:
        for name in ("gone", "open"):
            sessions.mailboxes[name] = asyncio.Queue()
            for number in range(3):
                sessions.mailboxes[name].put_nowait(number)
        now[0] += UNREAD_SECONDS - 1
        assert await sessions.mailboxes["open"].get() == 0
        now[0] += 2
        sessions.delete_all_expired_state()
        return [sessions.mailboxes[name].qsize() for name in ("gone", "open")]

    assert asyncio.run(answer_both()) == [0, 2]
