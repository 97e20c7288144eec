"""The library's files: what lies in ``<home>/loras``, read and written whole.

``<home>/loras/<id>/`` holds one entry: ``about.json`` and ``weights.safetensors`` (a LoRA in
diffusers' layout, or an embedding) or ``model/`` (a whole diffusers folder). Plain
``<home>/loras/*.safetensors`` and folders of PEFT's adapters, put there by the machine's owner, are
in everybody's library under their names. A name that begins with ``.new-`` is not finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pipelines.core.errors import UserError
from pipelines.core.files import refused_name, write_whole
from pipelines.core.messages import Message
from pipelines.diffusion.lora.adapters import CONFIG, SUFFIX, Adapter, adapter_at
from pipelines.diffusion.lora.record import (
    SHARED,
    LoraRecord,
    shared_id,
    shared_record,
    with_hash,
)

FOLDER = "loras"
WEIGHTS, ABOUT, MODEL = "weights.safetensors", "about.json", "model"
HASHED = 10_000_000  # bytes of a file whose hash is reckoned to list it
BROUGHT_IN = "brought in"  # a file in an unfinished entry

_UNFINISHED = ".new-"
_UNFINISHED_SECONDS = 24 * 3600.0
_ID = re.compile(r"[0-9a-f]{32}")


class Entries:
    """The folder of one home's library; looked through at every call.

    Many threads and processes may use it, but for names: who puts and describes entries sees to it
    that each name is given once.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    # --- reading ----------------------------------------------------------------------------

    def own(self) -> Iterator[LoraRecord]:
        """All owners' entries, by id; those that are damaged are left out."""
        if not self._folder.is_dir():
            return
        for folder in sorted(self._folder.iterdir()):
            if (record := self.read(folder.name)) is not None:
                yield record

    def read(self, id: str) -> LoraRecord | None:
        """An owner's entry; None where it is damaged or not there."""
        if not _ID.fullmatch(id):
            return None
        try:
            record = LoraRecord.model_validate_json((self._folder / id / ABOUT).read_bytes())
        except (OSError, ValidationError):
            return None
        # An owner's name is never empty: no entry can pass for everybody's.
        return record if record.id == id and record.owner != SHARED else None

    def files(self) -> list[Path]:
        """The files and adapters' folders of everybody's, by name."""
        if not self._folder.is_dir():
            return []
        shown = (path for path in sorted(self._folder.iterdir()) if path.name[0] != ".")
        return [path for path in shown if _is_shared(path)]

    def read_shared(self, path: Path, most: int | None = None) -> LoraRecord | Message:
        """A file of everybody's as an entry, or why it cannot be used.

        Args:
            most: as for :func:`with_hash`; None: as much as is reckoned for a list.
        """
        most = HASHED if most is None else most
        if (refused := refused_name(path)) is not None:
            return refused
        try:
            state = _state(path)
            found = shared_record(path, *state)
            return found if isinstance(found, Message) else with_hash(found, path, state, most)
        except UserError as error:  # it has just been changed
            return error.message
        except OSError as error:
            return Message("{file} cannot be read: {reason}.", file=path.name,
                           reason=error.strerror or str(error))  # fmt: skip

    def path(self, record: LoraRecord) -> Path:
        """An entry's file of weights, or its model's folder."""
        if record.owner == SHARED:
            return self.adapter(record).weights
        return self._folder / record.id / (MODEL if record.kind == "model" else WEIGHTS)

    def adapter(self, record: LoraRecord) -> Adapter:
        """An entry's weights, and what lies beside them.

        Raises:
            FileNotFoundError: of everybody's, it has been taken away.
            BadRequest: of everybody's, its folder has changed.
        """
        if record.owner != SHARED:
            return Adapter(self.path(record))
        for path in self.files():
            if shared_id(path) == record.id:
                return adapter_at(path, record.name)
        raise FileNotFoundError(record.name)

    # --- writing ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def new_folder(self) -> Iterator[Path]:
        """A new folder for :meth:`put`, deleted where it comes to nothing."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, folder: Path, record: LoraRecord) -> None:
        """Makes an unfinished folder the entry ``record``, in the place of an earlier one."""
        _write_json(folder / ABOUT, record)
        place, earlier = self._folder / record.id, self._aside()
        with contextlib.suppress(FileNotFoundError):  # made before, by a job that is run again
            os.rename(place, earlier)
        os.rename(folder, place)
        shutil.rmtree(earlier, ignore_errors=True)

    def describe(self, record: LoraRecord) -> None:
        """Writes anew what an entry says of itself."""
        _write_json(self._folder / record.id / ABOUT, record)

    def remove(self, id: str) -> None:
        """Deletes an entry; nothing where it has gone already."""
        # Renamed first: should this be cut off, no half entry is left in the library.
        gone = self._aside()
        try:
            os.rename(self._folder / id, gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)

    def _aside(self) -> Path:
        return self._folder / f"{_UNFINISHED}{secrets.token_hex(8)}"

    def _sweep(self) -> None:
        """Deletes what a killed studio has left unfinished."""
        oldest = time.time() - _UNFINISHED_SECONDS
        for folder in self._folder.glob(f"{_UNFINISHED}*"):
            with contextlib.suppress(OSError):
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)


def _state(path: Path) -> tuple[int, int]:
    """Bytes and newest change (ns) of a file, or of what lies in a folder."""
    inside = [each.stat() for each in ([path] if path.is_file() else path.iterdir())]
    return sum(each.st_size for each in inside), max(each.st_mtime_ns for each in inside)


def _is_shared(path: Path) -> bool:
    """Whether it is meant for everybody's library; entries of owners lie beside it."""
    if path.is_file():  # zip files are listed with the reason why they cannot be used
        return path.suffix.lower() in (SUFFIX, ".zip")
    if _ID.fullmatch(path.name) or not path.is_dir():
        return False
    try:
        names = {each.name for each in path.iterdir()}
    except OSError:  # a folder that the system does not hand out hides no other
        return False
    return CONFIG in names or any(name.endswith(SUFFIX) for name in names)


def _write_json(path: Path, record: LoraRecord) -> None:
    write_whole(path, json.dumps(record.model_dump(), ensure_ascii=False, indent=1).encode())
