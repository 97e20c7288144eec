"""Inputs of tests that take long to make, kept from one run to the next.

They lie in the user's folder for caches, or where ``ATELIER_TEST_CACHE`` says, each in a folder
named by what made it: other code or other libraries have a folder of their own. Whoever deletes
them only waits a little longer at the next run. Workers that make one at once do not disturb one
another.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ("torch", "diffusers", "transformers", "tokenizers", "openvino")
UNUSED_DAYS = 14


def cache_folder() -> Path:
    """Where prepared inputs lie."""
    if chosen := os.environ.get("ATELIER_TEST_CACHE"):
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "atelier-tests"


def prepared_folder(name: str, *sources: str) -> Path:
    """A folder of this name for files that the code in ``sources`` makes; other code has another.

    Args:
        sources: files below the repository, as patterns such as ``pipelines/diffusion/*.py``.
    """
    digest = hashlib.sha256()
    for path in sorted(path for source in sources for path in ROOT.glob(source)):
        digest.update(path.read_bytes())
    digest.update("".join(f"{library} {version(library)}\n" for library in LIBRARIES).encode())
    folder = cache_folder() / f"{name}-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # nothing can be kept here
        return Path(tempfile.mkdtemp(prefix=f"atelier-{name}-"))
    os.utime(folder)
    for other in cache_folder().glob(f"{name}-*"):
        if time.time() - other.stat().st_mtime > UNUSED_DAYS * 86400:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def prepare(folder: Path, make: Callable[[Path], object]) -> Path:
    """``folder`` as ``make(folder)`` fills it, whole or not at all; made once."""
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary) / folder.name
            make(made)
            try:
                made.rename(folder)
            except OSError:
                assert folder.exists(), "another worker has made it meanwhile"
    return folder
