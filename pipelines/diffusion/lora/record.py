"""What the library knows of an entry, and the names that entries have."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipelines.core.errors import UserError
from pipelines.core.matching import name_key
from pipelines.core.messages import Message
from pipelines.diffusion.lora.adapters import adapter_at
from pipelines.diffusion.lora.formats import EMBEDDING, LoraFile, open_lora
from pipelines.diffusion.lora.header import file_hash
from pipelines.diffusion.lora.use import MAX_NAME

MOST_SHARED = 20_000  # files of everybody's that are remembered; people collect thousands
SHARED = ""  # the owner of what is in everybody's library


class LoraRecord(BaseModel):
    """What ``about.json`` says of an entry.

    Attributes:
        owner: whose it is; "" of what is in everybody's library.
        kind: ``lora``, ``embedding`` or ``model``.
        family: what it is made for; see :mod:`pipelines.diffusion.lora.families`.
        base: the model that it was trained on, where that is known.
        rank, alpha: of a LoRA, the most common ones; alpha None: not said.
        triggers: words that call it up.
        alias: what its trainer called it; "" where that is not said, None where nobody has looked.
        sha256: of the file that was brought in, as A1111 reckons it; "" of a model, and in a list
            of a large file of everybody's that nobody has used yet.
        created: seconds since 1970.
        training: id of the training that made it, or None.
        sources: ids of all that were merged into it, those of merged ones included.
        subjects: ids of those whose photos are in it, by training or by merging.
        modules: part of the model → how many of its modules it changes.
        unread: how many tensors of the file meant nothing.
        unread_modules: of how many modules they are; None where nobody has counted.
        style: in which it came: ``kohya``, ``diffusers`` or ``peft``; "" of a model.
        bytes: on the disk.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    owner: str
    name: str
    kind: Literal["lora", "embedding", "model"] = "lora"
    family: str = ""
    base: str | None = None
    rank: int = 0
    alpha: float | None = None
    triggers: tuple[str, ...] = ()
    alias: str | None = None
    sha256: str = ""
    created: float = 0.0
    training: str | None = None
    sources: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    modules: dict[str, int] = {}
    unread: int = 0
    unread_modules: int | None = None
    style: str = ""
    bytes: int = 0


def clean_name(name: str) -> str:
    """A name that can stand in a tag and in a picture's settings, which have signs of their own.

    >>> clean_name(" my/../<dog>: a, b ")
    'my-..-dog- a- b'
    """
    composed = unicodedata.normalize("NFC", name)
    printable = "".join(c if c.isprintable() else " " for c in composed)
    plain = re.sub(r" ?[<>:,\"/\\]++", "-", " ".join(printable.split()))
    return plain.strip("- ")[:MAX_NAME].strip() or "LoRA"


_hashes: dict[tuple[Path, int, int], str] = {}


@lru_cache(maxsize=MOST_SHARED)
def shared_record(path: Path, size: int, changed: int) -> LoraRecord | Message:
    """A file or an adapter's folder of everybody's as an entry, or why it cannot be used.

    Read once, while it stays the same; its hash is not known (:func:`with_hash`).
    """
    try:
        adapter = adapter_at(path, path.name)
        file = open_lora(adapter.weights, path.name, adapter.config)
    except UserError as error:
        return error.message
    return LoraRecord(
        id=shared_id(path),
        owner=SHARED,
        name=shared_name(path),
        kind=file.kind,
        family=file.family,
        base=file.base,
        rank=file.rank,
        alpha=file.alpha,
        triggers=file.triggers,
        alias=file.alias,
        created=changed / 1e9,
        modules=file.counts,
        unread=len(file.unread),
        unread_modules=file.unread_modules,
        style=file.style,
        bytes=size,
    )


def with_hash(record: LoraRecord, path: Path, state: tuple[int, int], most: int) -> LoraRecord:
    """An entry of everybody's with its hash, for which its whole file is read once.

    Args:
        state: bytes and newest change of what lies at ``path``.
        most: bytes; of a larger one the hash is "" until it has been asked for with more.
    """
    known = _hashes.get((path, *state))
    if known is None and state[0] <= most:
        if len(_hashes) >= MOST_SHARED:
            _hashes.clear()
        adapter = adapter_at(path, path.name)
        file = open_lora(adapter.weights, path.name, adapter.config)
        known = _hashes[path, *state] = hash_of(adapter.weights, file)
    return record.model_copy(update={"sha256": known or ""})


def hash_of(path: Path, file: LoraFile) -> str:
    """SHA-256 by which other studios know the file: of a LoRA without its header."""
    return file_hash(path, 0 if file.kind == EMBEDDING else file.header.data_start)


def shared_name(path: Path) -> str:
    """What a file or folder of everybody's is called."""
    return path.name if path.is_dir() else path.stem


def shared_id(path: Path) -> str:
    """The id of a file that is everybody's: it has no folder, so its name makes it."""
    name = f"everybody's\0{path.name}".encode(errors="surrogateescape")
    return hashlib.sha256(name).hexdigest()[:32]


def free_name(name: str, taken: list[str]) -> str:
    """The name, with the first number after it that makes it one of its own."""
    keys = {name_key(each) for each in taken}
    candidate, number = name, 1
    while name_key(candidate) in keys:
        number += 1
        end = f" {number}"
        candidate = f"{name[: MAX_NAME - len(end)]}{end}"
    return candidate
