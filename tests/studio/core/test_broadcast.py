"""One source for all who watch the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from studio.api.sse import with_pauses
from studio.core.broadcast import Broadcast
from tests.patience import PATIENCE


class Source:
    """Yields what is put into it, until None; counts how often it was begun and closed."""

    def __init__(self) -> None:
        self.values: asyncio.Queue = asyncio.Queue()
        self.begun: list[str] = []
        self.closed = 0

    async def __call__(self, key: str) -> AsyncIterator[int]:
        self.begun.append(key)
        try:
            while (value := await self.values.get()) is not None:
                if isinstance(value, Exception):
                    raise value
                yield value
        finally:
            self.closed += 1


async def collect(values: AsyncIterator[int], into: list[int]) -> None:
    async for value in values:
        into.append(value)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(test) -> None:
    asyncio.run(asyncio.wait_for(test(), PATIENCE))


def test_many_listen_and_the_source_runs_once():
    async def test() -> None:
        source = Source()
        watched, heard = Broadcast(source), [[] for _ in range(5)]
        tasks = [asyncio.create_task(collect(watched.listen("a"), each)) for each in heard]
        await settle()
        for value in (1, 2):
            source.values.put_nowait(value)
            await settle()
        late: list[int] = []
        tasks.append(asyncio.create_task(collect(watched.listen("a"), late)))
        await settle()
        for value in (3, None):
            source.values.put_nowait(value)
        await asyncio.gather(*tasks)
        assert source.begun == ["a"]
        assert heard == [[1, 2, 3]] * 5
        assert late == [2, 3]  # the newest at once
        assert len(watched) == 0

    run(test)


def test_who_listens_slowly_gets_the_last_value():
    async def test() -> None:
        source = Source()
        slow = Broadcast(source).listen("a")
        for value in (1, 2, 3, None):
            source.values.put_nowait(value)
        assert await anext(slow) in (1, 2, 3)
        await settle()
        assert [value async for value in slow] in ([], [3])

    run(test)


def test_the_source_ends_with_its_last_listener_and_begins_anew():
    async def test() -> None:
        source = Source()
        watched = Broadcast(source)
        one, other = watched.listen("a"), watched.listen("a")
        source.values.put_nowait(1)
        assert (await anext(one), await anext(other)) == (1, 1)
        await one.aclose()
        await settle()
        assert (source.closed, len(watched)) == (0, 1)
        await other.aclose()
        await settle()
        assert (source.closed, len(watched)) == (1, 0)
        source.values.put_nowait(2)
        assert await anext(watched.listen("a")) == 2
        assert source.begun == ["a", "a"]

    run(test)


def test_an_error_of_the_source_reaches_all_and_nobody_who_comes_later():
    async def test() -> None:
        source = Source()
        watched = Broadcast(source)
        tasks = [asyncio.create_task(collect(watched.listen("a"), [])) for _ in range(3)]
        await settle()
        source.values.put_nowait(LookupError("gone"))
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in errors] == [LookupError] * 3
        source.values.put_nowait(7)
        assert await anext(watched.listen("a")) == 7

    run(test)


def test_pauses_are_told_and_no_value_is_lost():
    async def test() -> None:
        source = Source()
        heard = with_pauses(source("a"), 0.01)
        assert await anext(heard) is None
        for value in (1, 2, None):
            source.values.put_nowait(value)
        assert [value async for value in heard if value is not None] == [1, 2]
        assert source.closed == 1

    run(test)


@pytest.mark.parametrize("asked", [0, 1])
def test_closing_closes_the_values_too(asked: int):
    async def test() -> None:
        source = Source()
        source.values.put_nowait(1)
        heard = with_pauses(source("a"), PATIENCE)
        assert await anext(heard) == 1
        waiting = [asyncio.create_task(anext(heard)) for _ in range(asked)]
        await settle()
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await heard.aclose()
        assert source.closed == 1

    run(test)
