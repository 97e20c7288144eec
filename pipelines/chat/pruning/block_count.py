"""How many transformer blocks a model has, read from its files' headers. No torch here."""

from __future__ import annotations

import functools
from pathlib import Path

from pipelines.core.processes import read_json


def block_count(path: Path) -> int | None:
    """Of a transformers folder or a ``.gguf`` file; None where the files do not say."""
    try:
        about = path.stat()
    except OSError:
        return None
    return _counted(path, about.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _counted(path: Path, changed: int) -> int | None:
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
