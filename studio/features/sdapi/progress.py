"""How far the jobs are that an owner's programs wait for; source: ``progressapi`` of A1111."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import NotFound
from studio.features.sdapi.pictures import encode_png

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.jobs.record import Job
    from studio.core.services import Studio
    from studio.features.sdapi.memory import Program

BEGUN = 0.01  # what A1111 says of a job before its first step
ALMOST = 0.99


def progress(studio: Studio, owner: Owner, program: Program, with_picture: bool) -> dict[str, Any]:
    """The newest job that one of the owner's programs waits for; 0 where there is none."""
    jobs = _list_unfinished(studio, owner, program)
    job = jobs[-1] if jobs else None
    state = {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": "" if job is None else f"task({job.id})",
        "job_count": len(jobs),
        "job_timestamp": "0",
        "job_no": 0,
        "sampling_step": 0,
        "sampling_steps": 0,
    }
    if job is None:
        return _answer(0.0, 0.0, state, None, None)
    made = datetime.fromtimestamp(job.created)
    state |= {
        "job_timestamp": made.strftime("%Y%m%d%H%M%S"),
        "sampling_step": job.step,
        "sampling_steps": job.total,
    }
    share = min(max(job.step / job.total, BEGUN), ALMOST) if job.total else BEGUN
    left = studio.jobs.seconds_left(job.id) or studio.jobs.wait(job.id) or 0.0
    preview = studio.jobs.preview(owner.id, job.id) if with_picture else None
    shown = encode_png(preview) if preview is not None else None
    words = str(job.note) if job.note is not None else None
    return _answer(share, left, state, shown, words) | {"current_task": f"task({job.id})"}


def interrupt(studio: Studio, owner: Owner, program: Program) -> None:
    """Stops the newest job that one of the owner's programs waits for."""
    for job in _list_unfinished(studio, owner, program)[-1:]:
        studio.jobs.cancel(owner.id, job.id)


def _list_unfinished(studio: Studio, owner: Owner, program: Program) -> list[Job]:
    found = []
    for id in list(program.jobs):
        try:
            job = studio.jobs.get(owner.id, id)
        except NotFound:  # deleted on the page meanwhile
            continue
        if not job.ended:
            found.append(job)
    return found


def _answer(
    share: float, left: float, state: dict[str, Any], picture: str | None, words: str | None
) -> dict[str, Any]:
    return {
        "progress": share,
        "eta_relative": left,
        "state": state,
        "current_image": picture,
        "textinfo": words,
        "current_task": None,
    }
