"""How many blocks a model has, which may go, and which go first. No torch here: the page asks it.

After Kim et al., "Shortened LLaMA" (2024), section 3.1.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.child_process import read_json
from pipelines.core.errors import BadRequest

FIRST, LAST = 4, 2  # blocks that the "+" variants never drop (section 3.1)


def guarded_blocks(blocks: int) -> set[int]:
    """The numbers that the "+" guard protects: the first four and the last two."""
    return {n for n in range(blocks) if n < FIRST or n >= blocks - LAST}


def check_count(k: int, blocks: int, guard: bool) -> None:
    """Refuses to drop more blocks than may go.

    Raises:
        BadRequest: names the number and the limit.
    """
    if k < 0:
        raise BadRequest("{count} blocks cannot be dropped; give 0 or more.", count=k)
    if guard and k > (most := blocks - len(guarded_blocks(blocks))):
        raise BadRequest(
            "{count} blocks cannot be dropped: the model has {blocks}, and with the guard for the "
            "first {first} and the last {last} at most {limit} may go. Ask for fewer, or without "
            "the guard.",
            count=k,
            blocks=blocks,
            first=FIRST,
            last=LAST,
            limit=most,
        )
    if k >= blocks:
        raise BadRequest(
            "{count} blocks cannot be dropped: the model has {blocks}, and at least one must stay.",
            count=k,
            blocks=blocks,
        )


def least_important(scores: Sequence[float], k: int, guard: bool) -> list[int]:
    """The ``k`` blocks of the lowest scores, in ascending order; of equal ones the later goes.

    Args:
        scores: one a block; the higher, the more important.
        guard: never the first four and the last two.

    Raises:
        BadRequest: more are asked for than may go.
    """
    check_count(k, len(scores), guard)
    kept = guarded_blocks(len(scores)) if guard else set()
    free = [n for n in range(len(scores)) if n not in kept]
    return sorted(sorted(free, key=lambda n: (scores[n], -n))[:k])


def block_count(path: Path) -> int | None:
    """Of a transformers folder or a ``.gguf`` file; None where the files do not say."""
    try:
        about = path.stat()
    except OSError:
        return None
    return _read_count(path, about.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read_count(path: Path, changed: int) -> int | None:
    """A GGUF's header holds all of its vocabulary: a second's reading, so it is kept."""
    if path.is_dir():
        count = (read_json(path / "config.json") or {}).get("num_hidden_layers")
    else:
        from gguf import GGUFReader

        try:
            fields = GGUFReader(path).fields
        except (OSError, ValueError, IndexError, KeyError):  # no GGUF, or cut short
            return None
        named = (field for key, field in fields.items() if key.endswith(".block_count"))
        count = next((int(field.contents()) for field in named), None)
    return count if isinstance(count, int) and count > 0 else None
