"""Whose turn it is: a queue that is fair between its owners."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def fair_order(queued: Iterable[tuple[str, str]], served: Mapping[str, int]) -> list[str]:
    """The order in which queued jobs run: owners take turns, each owner's jobs in their order.

    Args:
        queued: (job id, owner) in order of arrival.
        served: per owner the number of its last start; the lowest is served next, and among
            equals whoever came first.
    """
    waiting: dict[str, list[str]] = {}
    for job_id, owner in queued:
        waiting.setdefault(owner, []).append(job_id)
    last = {owner: served.get(owner, 0) for owner in waiting}
    order: list[str] = []
    turn = max(served.values(), default=0)
    while waiting:
        owner = min(waiting, key=lambda owner: last[owner])  # ties: the first to have come
        order.append(waiting[owner].pop(0))
        turn += 1
        last[owner] = turn
        if not waiting[owner]:
            del waiting[owner]
    return order
