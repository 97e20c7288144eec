"""A job that a program's request begins, and waits for until it ends or the client hangs up."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync

if TYPE_CHECKING:
    from starlette.types import Receive

    from studio.core.jobs.record import Job
    from studio.core.services import Studio

LOOK_SECONDS = 0.5  # between two looks at a job, should nobody tell that it has ended


class Gone(Exception):
    """The client has hung up: nobody waits for the answer any more."""


async def wait_for_end(studio: Studio, job: Job, receive: Receive) -> Job:
    """The job as it has ended; it is cancelled when the client hangs up.

    Args:
        receive: of the request that has begun it, whose body has been read.

    Raises:
        Gone: the client has hung up.
    """
    gone = asyncio.create_task(_wait_for_disconnect(receive))
    try:
        job = await _wait(studio, job, gone)
    finally:
        gone.cancel()
        if not job.ended:  # the client has gone, or the studio is closing
            await run_sync(studio.jobs.cancel, job.owner, job.id)
    return job


async def _wait(studio: Studio, job: Job, gone: asyncio.Task) -> Job:
    told, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the studio is closing
            loop.call_soon_threadsafe(told.set)

    with studio.jobs.on_job_end(tell):
        while True:
            told.clear()
            job = await run_sync(studio.jobs.get, job.owner, job.id)
            if job.ended:
                return job
            ending = asyncio.create_task(told.wait())
            await asyncio.wait(
                {ending, gone}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            ending.cancel()
            if gone.done():
                raise Gone


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
