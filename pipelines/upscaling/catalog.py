"""Which upscalers there are: some that compute, the starter's, and ``<home>/upscalers/``.

No torch here, but where a file's architecture is asked for: the page lists them before any heavy
library is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

from pipelines.core.errors import NotFound, Refused
from pipelines.core.files import refused_name
from pipelines.core.matching import closest, find_name, same_name
from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS
from pipelines.models.local_models import PICKLES, cannot_be_read, pickle_reason, read_header

FOLDER = "upscalers"
CACHE_PREFIX = "upscaler:"
"""In the model cache, upscalers have this before their name."""

LANCZOS, NEAREST, NONE = "Lanczos", "Nearest", "None"
COMPUTED = (LANCZOS, NEAREST, NONE)  # None is A1111's name of plain resizing, which is Lanczos' too
_GROUPS = ("state_dict.", "params_ema.", "params.", "model_ema.", "net_g.", "_orig_mod.")
TensorT = TypeVar("TensorT")
SHIPPED = ASSETS / "starter" / FOLDER


@dataclass(frozen=True, slots=True)
class UpscalerEntry:
    """An upscaler that can be asked for by ``name``.

    Attributes:
        path: of its network's weights; None: it only computes.
    """

    name: str
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that cannot be used."""

    name: str
    reason: Message


class Upscalers:
    """All upscalers of one installation.

    Args:
        home: the home folder; ``<home>/upscalers/`` is looked through at every call.
        shipped: the folder of those that come along.
    """

    def __init__(self, home: Path | None, shipped: Path = SHIPPED) -> None:
        self._folders = [shipped] if home is None else [shipped, home / FOLDER]

    def list(self) -> list[UpscalerEntry]:
        """Shipped networks first, then one's own by name, and last what only computes."""
        entries: dict[str, UpscalerEntry] = {}
        for found in self._files():
            if isinstance(found, UpscalerEntry):
                own = found.name
                if own in entries or same_name(own, COMPUTED) is not None:
                    own = f"{own} (local)"
                if own in entries:  # x.safetensors and x.SAFETENSORS
                    own = f"{found.path.name} (local)"
                entries[own] = UpscalerEntry(own, found.path)
        return [*entries.values(), *map(UpscalerEntry, COMPUTED)]

    def get(self, name: str) -> UpscalerEntry:
        """The entry called ``name``.

        Raises:
            NotFound: there is none; the sentence offers the closest names.
            Refused: it is a file that cannot be used; the sentence says why.
        """
        entries = {entry.name: entry for entry in self.list()}
        if (known := find_name(name, entries)) is not None:
            return entries[known]
        refused = {each.name: each.reason for each in self._files() if isinstance(each, Refusal)}
        if (own := find_name(name, refused)) is not None:
            raise Refused(refused[own].template, **refused[own].values)
        raise NotFound(
            "There is no upscaler called {name}. Closest are {close}.",
            name=name[:200],
            close=closest(name, entries),
        )

    def list_refusals(self) -> list[Message]:
        """Why files of one's own cannot be used."""
        return [each.reason for each in self._files() if isinstance(each, Refusal)]

    def _files(self) -> Iterator[UpscalerEntry | Refusal]:
        for folder in self._folders:
            if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
                continue
            for path in sorted(folder.iterdir()):
                suffix = path.suffix.lower()
                if path.name.startswith(".") or suffix not in {".safetensors", *PICKLES}:
                    continue
                if path.exists() and not path.is_file():
                    continue
                try:
                    reason = refused_name(path) or _refusal(path)
                except OSError as error:  # one bad file must not hide the others
                    reason = cannot_be_read(path, error).refused
                yield (
                    UpscalerEntry(path.stem, path) if reason is None else Refusal(path.stem, reason)
                )


def _refusal(path: Path) -> Message | None:
    """Why a file is no upscaler that can be used, or None."""
    if path.suffix.lower() in PICKLES:
        return pickle_reason(path)
    facts = path.stat()
    return _refusal_of_header(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=1024)
def _refusal_of_header(path: Path, modified: int, size: int) -> Message | None:
    """The same, from the header of a file that stays as it is; spandrel knows most networks."""
    header = read_header(path)
    if header is None:
        return _damage_message(path)
    from spandrel import MAIN_REGISTRY, canonicalize_state_dict  # it takes torch along

    try:
        shapes = {
            name: SimpleNamespace(shape=tuple(map(int, tensor["shape"])))
            for name, tensor in header.items()
            if name != "__metadata__"
        }
    except (LookupError, TypeError, ValueError, OverflowError):
        return _damage_message(path)
    state = canonicalize_state_dict(unwrap(shapes))
    for support in MAIN_REGISTRY.architectures("detection"):
        try:
            if support.detect(state):
                return None
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError):
            continue  # it would look at numbers, which no header has
    return Message(
        "{file} is no upscaler of a known architecture. Those that spandrel reads can be used, "
        "such as ESRGAN, Compact, SwinIR, DAT and HAT.",
        file=path.name,
    )


def unwrap(tensors: dict[str, TensorT]) -> dict[str, TensorT]:
    """Tensors by their own names, where a file has them in a group, as trainers keep them.

    Of the weights and their running mean it is the mean.
    """
    for group in _GROUPS:
        inside = {name[len(group) :]: each for name, each in tensors.items()
                  if name.startswith(group)}  # fmt: skip
        tensors = inside or tensors
    return tensors


def _damage_message(path: Path) -> Message:
    return Message(
        "{file} is damaged or cut short: its header cannot be read. Get it anew.", file=path.name
    )
