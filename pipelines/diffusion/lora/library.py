"""The library: LoRAs, learned words and own models in the home folder, asked for by name or id.

Where they lie and how they are written says :mod:`pipelines.diffusion.lora.entries`. Ids are made
here from ``secrets``; whose an entry is, its ``about.json`` says. No torch here but in what reads
or writes weights.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipelines.core.errors import BadRequest, NotFound, Refused, UserError
from pipelines.core.matching import closest, find_name, name_key
from pipelines.core.messages import Message
from pipelines.diffusion.lora.adapters import SUFFIX, UNPACKED, adapter_at, is_zip, unpack
from pipelines.diffusion.lora.entries import BROUGHT_IN, MODEL, WEIGHTS, Entries
from pipelines.diffusion.lora.formats import EMBEDDING, LoraFile, clean_triggers, open_lora
from pipelines.diffusion.lora.record import (
    SHARED,
    LoraRecord,
    clean_name,
    free_name,
    hash_of,
    shared_id,
    shared_name,
)
from pipelines.diffusion.lora.use import MAX_NAME, LoraUse
from pipelines.models.local_models import inspect_folder

if TYPE_CHECKING:
    import torch

    from pipelines.diffusion.lora.weights import Factors

Style = Literal["diffusers", "kohya"]

_naming = threading.Lock()  # two additions at once must not take the same name


class LoraLibrary:
    """All entries of one home folder. Safe to use from many threads and processes.

    Args:
        home: the home folder; ``<home>/loras`` is looked through at every call.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._entries = Entries(home)

    # --- finding ----------------------------------------------------------------------------

    def list(self, owner: str) -> list[LoraRecord]:
        """The owner's, newest first, then what is in everybody's library, by name.

        Files of everybody's that cannot be used are left out; :meth:`list_refusals` has them.
        """
        own = sorted(self.own(owner), key=lambda record: (-record.created, record.name))
        shared = (self._entries.read_shared(path) for path in self._entries.files())
        return own + [record for record in shared if isinstance(record, LoraRecord)]

    def own(self, owner: str) -> list[LoraRecord]:
        """The owner's alone, in no order."""
        return [record for record in self._entries.own() if record.owner == owner]

    def list_refusals(self) -> list[Message]:
        """Why files in everybody's library cannot be used."""
        shared = (self._entries.read_shared(path) for path in self._entries.files())
        return [found for found in shared if isinstance(found, Message)]

    def get(self, owner: str, name: str) -> LoraRecord:
        """The owner's entry called ``name``, else everybody's.

        Raises:
            NotFound: there is none; the sentence offers the closest names.
            BadRequest: it is everybody's and cannot be used; the sentence says why.
        """
        mine = self.list(owner)
        if (record := self._find_named(name, mine)) is not None:
            return record
        for path in self._entries.files():
            if name_key(shared_name(path)) == name_key(name) and isinstance(
                reason := self._entries.read_shared(path), Message
            ):
                raise BadRequest(reason.template, **reason.values)
        if not mine:
            raise NotFound(
                "There is no LoRA called {name}; the library is empty. Train one, or bring one in.",
                name=name[:MAX_NAME],
            )
        raise NotFound(
            "There is no LoRA called {name} in the library. Did you mean one of: {close}?",
            name=name[:MAX_NAME],
            close=closest(name, [record.name for record in mine]),
        )

    def _find_named(self, name: str, records: list[LoraRecord]) -> LoraRecord | None:
        """The one that ``name`` means: by its name, else as a file of it, else by its alias."""
        by_name = {record.name: record for record in reversed(records)}
        file = re.split(r"[\\/]", name)[-1]
        if file.lower().endswith(SUFFIX):
            file = file[: -len(SUFFIX)]
        found = find_name(name, by_name) or find_name(file, by_name)
        if found is not None:
            return by_name[found]
        key = name_key(file)
        return next((record for record in records if name_key(self._alias(record)) == key), None)

    def _alias(self, record: LoraRecord) -> str:
        """What its trainer called it; of entries of earlier versions their file knows it."""
        if record.alias is not None or record.kind == "model":
            return record.alias or ""
        with contextlib.suppress(UserError):
            return self.open(record)[1].alias
        return ""

    def by_id(self, id: str) -> LoraRecord:
        """The entry with this id, whosever it is.

        Raises:
            NotFound: there is none (any more).
        """
        if (record := self._entries.read(id)) is not None:
            return record
        for path in self._entries.files():
            if shared_id(path) == id and isinstance(
                found := self._entries.read_shared(path, most=sys.maxsize), LoraRecord
            ):
                return found
        raise NotFound("The LoRA {id} is no longer in the library.", id=id[:60])

    def find(self, use: LoraUse, owner: str = SHARED) -> LoraRecord:
        """The entry that a use means: by its id, else by its name among the owner's.

        Raises:
            NotFound: it is not, or no longer, there.
            BadRequest: it is a whole model.
        """
        record = self.by_id(use.id) if use.id else self.get(owner, use.name)
        if record.kind == "model":
            raise BadRequest(
                "{name} is a whole model, not a LoRA. Choose it as the model that paints.",
                name=record.name,
            )
        return record

    def path(self, record: LoraRecord) -> Path:
        """Its file of weights, or its model's folder."""
        return self._entries.path(record)

    def open(self, record: LoraRecord) -> tuple[Path, LoraFile]:
        """Its file and what the file's header says; not of a model.

        Raises:
            BadRequest, NotFound: the file has been damaged or taken away.
        """
        try:
            adapter = self._entries.adapter(record)
            return adapter.weights, open_lora(adapter.weights, record.name, adapter.config)
        except FileNotFoundError:
            raise NotFound("The LoRA {id} is no longer in the library.", id=record.id) from None

    def factors(self, record: LoraRecord) -> dict[str, Factors]:
        """The tensors of a LoRA; see :func:`pipelines.diffusion.lora.weights.read`.

        Raises:
            BadRequest: it is no LoRA, or damaged.
        """
        from pipelines.diffusion.lora.weights import read

        if record.kind != "lora":
            raise BadRequest("{name} is no LoRA, so it cannot be merged.", name=record.name)
        path, file = self.open(record)
        return read(path, file, record.name)

    # --- putting on -------------------------------------------------------------------------

    def add(
        self,
        owner: str,
        name: str,
        data: Path | bytes,
        *,
        id: str | None = None,
        triggers: tuple[str, ...] | None = None,
        base: str | None = None,
        training: str | None = None,
        sources: tuple[str, ...] = (),
        subjects: tuple[str, ...] = (),
    ) -> LoraRecord:
        """Puts a LoRA or an embedding in the owner's library, re-written in one layout.

        Args:
            data: a safetensors file of any style, or a zip file or folder of an adapter with its
                configuration; it stays where it is.
            id: the entry's, where it has been promised already; None makes one.
            triggers, base: None: what the file says.
            training: id of the training that made it.
            sources: ids of what it was merged from.
            subjects: ids of those whose photos are in it.

        Raises:
            BadRequest: the file cannot be used; the sentence says why.
            OSError: the disk is full.
        """
        name = clean_name(name)
        with self._entries.new_folder() as folder:
            source = data if isinstance(data, Path) else folder / BROUGHT_IN
            if isinstance(data, bytes):
                source.write_bytes(data)
            if source.is_file() and is_zip(source):
                adapter = adapter_at(unpack(source, folder, name), name)
            else:
                adapter = adapter_at(source, name)
            weights = adapter.weights
            file = open_lora(weights, name, adapter.config)
            from pipelines.diffusion.lora.export import Facts, embedding_file, kept_file
            from pipelines.diffusion.lora.weights import read, read_vectors

            words = file.triggers if triggers is None else clean_triggers(triggers)
            created, digest = time.time(), hash_of(weights, file)
            if file.kind == EMBEDDING:
                facts = Facts(name, file.family, file.base, words, digest, created)
                written = embedding_file(read_vectors(weights, file, name), facts, "kohya")
            else:
                written = kept_file(read(weights, file, name), _provenance(file.header.metadata))
            (folder / BROUGHT_IN).unlink(missing_ok=True)
            shutil.rmtree(folder / UNPACKED, ignore_errors=True)
            (folder / WEIGHTS).write_bytes(written)
            record = LoraRecord(
                id=id or secrets.token_hex(16),
                owner=owner,
                name=name,
                kind=file.kind,
                family=file.family,
                base=base or file.base,
                rank=file.rank,
                alpha=file.alpha,
                triggers=words,
                alias=file.alias,
                sha256=digest,
                created=created,
                training=training,
                sources=sources,
                subjects=subjects,
                modules=file.counts,
                unread=len(file.unread),
                unread_modules=file.unread_modules,
                style=file.style,
                bytes=len(written),
            )
            return self._put(folder, record)

    def add_model(
        self,
        owner: str,
        name: str,
        write: Callable[[Path], None],
        *,
        family: str,
        id: str | None = None,
        triggers: tuple[str, ...] = (),
        base: str | None = None,
        training: str | None = None,
        sources: tuple[str, ...] = (),
        subjects: tuple[str, ...] = (),
    ) -> LoraRecord:
        """Puts a whole model in the owner's library.

        Args:
            write: called with a folder that does not exist yet; writes a diffusers model there.
            family: see :mod:`pipelines.diffusion.lora.families`.
            id, triggers, base, training, sources, subjects: as for :meth:`add`.

        Raises:
            BadRequest: what was written is no model that Atelier could load.
            OSError: the disk is full.
        """
        name = clean_name(name)
        with self._entries.new_folder() as folder:
            write(folder / MODEL)
            finding = inspect_folder(folder / MODEL, folder)
            if finding.refused is not None:
                raise BadRequest(finding.refused.template, **finding.refused.values)
            record = LoraRecord(
                id=id or secrets.token_hex(16),
                owner=owner,
                name=name,
                kind="model",
                family=family,
                base=base,
                triggers=clean_triggers(triggers),
                created=time.time(),
                training=training,
                sources=sources,
                subjects=subjects,
                bytes=finding.nbytes,
            )
            return self._put(folder, record)

    # --- changing ---------------------------------------------------------------------------

    def rename(self, owner: str, id: str, name: str) -> LoraRecord:
        """Gives the owner's entry another name, with a number where that one is taken.

        Raises:
            NotFound: there is none, or it is another's.
            Refused: it is in everybody's library.
        """
        record = self._mine(owner, id)
        with _naming:
            others = [each.name for each in self.list(owner) if each.id != id]
            changed = record.model_copy(update={"name": free_name(clean_name(name), others)})
            self._entries.describe(changed)
        return changed

    def delete(self, owner: str, id: str) -> None:
        """Takes the owner's entry out of the library for good; raises as :meth:`rename` does."""
        self._mine(owner, id)
        self._entries.remove(id)

    def _put(self, folder: Path, record: LoraRecord) -> LoraRecord:
        with _naming:
            taken = [each.name for each in self.list(record.owner) if each.id != record.id]
            record = record.model_copy(update={"name": free_name(record.name, taken)})
            self._entries.put(folder, record)
        return record

    def _mine(self, owner: str, id: str) -> LoraRecord:
        record = self.by_id(id)
        if record.owner == SHARED:
            raise Refused(
                "{name} is a file in the folder loras, in everybody's library; it can only be "
                "changed there.",
                name=record.name,
            )
        if record.owner != owner:
            raise NotFound("The LoRA {id} is no longer in the library.", id=id[:60])
        return record

    # --- for other tools --------------------------------------------------------------------

    def export(self, id: str, style: Style) -> bytes:
        """The file that other tools read; see :mod:`pipelines.diffusion.lora.export`.

        Raises:
            NotFound: there is no such entry.
            BadRequest: it is a whole model, which is no single file.
        """
        record = self.by_id(id)
        if record.kind == "model":
            raise BadRequest(
                "{name} is a whole model, a folder of many files. Take it from the home folder.",
                name=record.name,
            )
        from pipelines.diffusion.lora.export import (
            Facts,
            diffusers_file,
            embedding_file,
            kohya_file,
        )

        facts = Facts(
            record.name, record.family, record.base, record.triggers, record.sha256, record.created
        )
        if record.kind == "embedding":
            return embedding_file(self.vectors(record), facts, style)
        factors = self.factors(record)
        return diffusers_file(factors) if style == "diffusers" else kohya_file(factors, facts)

    def vectors(self, record: LoraRecord) -> dict[str, torch.Tensor]:
        """The learned vectors of an embedding, by part of the model."""
        from pipelines.diffusion.lora.weights import read_vectors

        path, file = self.open(record)
        return read_vectors(path, file, record.name)


def _provenance(metadata: dict[str, str]) -> dict[str, str]:
    """Of a file's metadata what says where it comes from."""
    prefixes = ("ss_", "sshs_", "modelspec.")
    return {name: text for name, text in metadata.items() if name.startswith(prefixes)}
