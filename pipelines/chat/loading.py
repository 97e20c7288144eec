"""What the model cache loads for a chat: a worker of llama.cpp, or a transformers model."""

from __future__ import annotations

from pathlib import Path

from pipelines.chat.catalog import ChatCatalog, find
from pipelines.chat.entries import CACHE_PREFIX, EMBED_PREFIX, INSPECT_PREFIX, ChatEntry
from pipelines.chat.model_library import ModelLibrary
from pipelines.core.cache import Loaded, Notes
from pipelines.core.errors import Unavailable
from pipelines.core.paths import HUB_FOLDER

PREFIXES = (CACHE_PREFIX, EMBED_PREFIX, INSPECT_PREFIX)


def load(name: str, device: str, notes: Notes, offline: bool, home: Path) -> Loaded:
    """Bring the chat model ``name`` (with its prefix) to ``device``, downloading it if need be.

    Raises:
        UserError: there is no such model, its files cannot be had, or it cannot be loaded.
    """
    prefix, entry = _entry(name, home)
    if entry.backend == "remote":
        raise Unavailable(
            "{model} runs on another server; it cannot be opened here.", model=entry.title
        )
    path = find(entry, home)
    if path is None:
        from pipelines.chat.downloads import fetch

        path = fetch(entry, home / HUB_FOLDER, notes, offline)
    if prefix == CACHE_PREFIX and entry.backend == "llama.cpp":
        from pipelines.chat.backends.llama_cpp import LlamaCpp

        return LlamaCpp(entry, path, device, notes)
    if prefix == EMBED_PREFIX:
        from pipelines.chat.backends.llama_embedder import LlamaEmbedder

        return LlamaEmbedder(entry, path, device, notes)
    from pipelines.chat.backends.transformers_model import load as load_transformers

    return load_transformers(entry, path, device, notes, home)


def expected_bytes(name: str, home: Path) -> int:
    """About what :func:`load` will take."""
    prefix, entry = _entry(name, home)
    if prefix == INSPECT_PREFIX and entry.backend == "llama.cpp":
        # Opened by transformers, a GGUF file's weights become whole numbers of bytes again.
        path = find(entry, home)
        return (path.stat().st_size if path else entry.download_bytes) * 7
    return entry.memory_bytes


def _entry(name: str, home: Path) -> tuple[str, ChatEntry]:
    prefix = next(each for each in PREFIXES if name.startswith(each))
    return prefix, ChatCatalog(home, own=ModelLibrary(home)).get(name[len(prefix) :])
