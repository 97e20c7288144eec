"""The fingerprint by which pictures name their model: the first digits of a SHA-256.

A1111, Forge and Civitai take that of the single file. A folder has none; there it is that of its
denoiser's weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from pathlib import Path

from pipelines.core.files import write_whole

DIGITS = 10
KEPT = ".hashes.json"
_PARTS = ("unet", "transformer")
_BLOCK = 2**20
_writing = threading.Lock()


def model_hash(path: Path, models: Path, lora: Path | None = None) -> str | None:
    """Of a single file or a diffusers folder; None where there are no weights.

    Large files take seconds, so what was found is kept in ``<models>/.hashes.json`` for as long as
    the files' sizes and times stay the same.

    Args:
        lora: the folder of one that is always in the weights.
    """
    files = _weights(path)
    if not files:
        return None
    if lora is not None:
        files = [*files, *sorted(lora.glob("*.safetensors"))]
    facts = [(str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in files]
    key = json.dumps(facts)
    kept = models / KEPT
    found = _read(kept).get(key)
    if found is None:
        digest = hashlib.sha256()
        for each in files:
            with each.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        found = digest.hexdigest()[:DIGITS]
        with _writing, contextlib.suppress(OSError):  # without it, it is reckoned again
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, json.dumps(_read(kept) | {key: found}, indent=1).encode())
    return found


def _weights(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    for part in _PARTS:
        if files := sorted((path / part).glob("*.safetensors")):
            return files
    return []


def _read(kept: Path) -> dict[str, str]:
    try:
        return json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
