"""What is said of the sheet of a whole run: what its rows and columns are, in the reader's words.

The picture's own few words are English: it is painted once, for whoever will see it, and not every
machine has a font with Chinese letters.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.core.messages import Message
from pipelines.grids.cells import label_of
from studio.core.jobs.record import Job

COMPARE, BEFORE_AFTER, GRID = "compare_samplers", "before_after", "grid"  # kinds of jobs


def caption(job: Job) -> Message | None:
    """What there is to see on a job's sheet; None where nothing is known of its kind."""
    request = job.request
    if job.kind == COMPARE:
        return Message(
            "“{prompt}”, a row for each sampler: {samplers}; a column for each number of steps: "
            "{steps}. Below each picture how long it took.",
            prompt=request["base"]["prompt"],
            samplers=_list_items(request["samplers"]),
            steps=_list_items(request["steps"]),
        )
    if job.kind == GRID:
        axes = [request[name] for name in ("x", "y", "z") if request.get(name)]
        return Message(
            "“{prompt}” with {axes}. Below each picture how long it took, and how much of the "
            "prompt it shows where that can be judged.",
            prompt=request["base"]["prompt"],
            axes="; ".join(f"{label_of(axis['field'])}: {axis['values']}" for axis in axes),
        )
    if job.kind != BEFORE_AFTER:
        return None
    prompts = _list_items(f"“{prompt}”" for prompt in request["prompts"])
    if request.get("model"):
        return Message(
            "A row for each prompt: {prompts}; on the left painted by the base model, on the right "
            "by the one that has learnt. Below each picture its seed.",
            prompts=prompts,
        )
    return Message(
        "A row for each prompt: {prompts}; a column for each weight of {lora}: {weights}, where 0 "
        "is without it. Below each picture its seed.",
        prompts=prompts,
        lora=request["lora"]["name"],
        weights=_list_items(f"{weight:g}" for weight in request["weights"]),
    )


def _list_items(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
