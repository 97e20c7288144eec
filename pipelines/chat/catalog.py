"""Which language models there are: a YAML file each, in ``presets/chat/`` and ``<home>/chat/``.

A file that is added, changed or taken away counts at once. What is in the home folder was put there
by the owner of the machine: only they name folders, addresses and keys, never a client.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    field_validator,
    model_validator,
)

from pipelines.catalog import HUB_FOLDER, PRESETS, Bytes, unknown_name
from pipelines.chat.remote_fields import check_fields
from pipelines.chat.requests import Sampling
from pipelines.errors import NotFound, Refused, Unavailable, UserError, validated
from pipelines.files import readable_name, refused_name
from pipelines.messages import Message

FOLDER = "chat"  # in presets and in the home folder
CACHE_PREFIX = "chat:"  # before a model's name in the model cache: as its backend runs it
INSIDE_PREFIX = "llama:"  # the same model as transformers has it, to look into
OWN = "own-chat:"  # before the id of a model that somebody has made here

_UNPRINTABLE = re.compile(r"[/\\\x00-\x1f]")  # what no name of an entry may hold
Backend = Literal["llama.cpp", "transformers", "remote"]
Quantisation = Literal["none", "8bit", "4bit"]


class ChatSource(BaseModel):
    """Where a model's files are.

    Attributes:
        package: an installed Python package that has ``file`` in its folder.
        hub: a repository on the Hugging Face hub; of it ``file``, or all that transformers needs.
        folder: a transformers folder; relative to ``<home>/chat/``.
        file: a GGUF file; relative to ``<home>/chat/`` when it stands alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: str | None = None
    hub: str | None = None
    folder: Path | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> ChatSource:
        places = [name for name in ("package", "hub", "folder") if getattr(self, name)]
        if len(places) > 1 or not (places or self.file):
            raise ValueError(f"give one of package, hub, folder, or a file, not {places or 'none'}")
        if self.package and not self.file:
            raise ValueError("a package needs the name of a file in it")
        if self.folder and self.file:
            raise ValueError("give a folder or a file, not both")
        return self


class ChatEntry(BaseModel):
    """One language model that can be asked for by ``name``.

    Attributes:
        backend: what runs it: ``llama.cpp`` for GGUF, ``transformers`` for safetensors, ``remote``
            for a server that speaks OpenAI's protocol.
        source: its files; none for ``remote``.
        lora: a PEFT adapter on top (folder or hub repository), for ``transformers``.
        quantisation: ``8bit`` or ``4bit`` by bitsandbytes, on CUDA.
        compiled: whether the step that writes a token is compiled, on a cache of fixed length; for
            ``transformers``. The first answer waits for the compiler, further ones are quicker on
            CUDA; a C++ compiler or Triton has to be there.
        context_length: tokens that one conversation may have, answer included.
        parallel: how many conversations llama.cpp goes on with at a time.
        threads: of llama.cpp on the CPU; None: one for each core; a small model, one less for
            a single answer.
        sampling: what a request leaves open.
        system_prompt: what a new conversation begins with.
        chat_template: Jinja, in the place of the model's own.
        languages: codes of those it speaks well.
        download_bytes: what the hub sends; 0 for what is here already.
        memory_bytes: what its weights take, with room for the context.
        gated: the hub wants its licence accepted and a token.
        url, remote_model: of a remote server, such as ``http://127.0.0.1:8000/v1``.
        api_key, api_key_env: of a remote server: the key, or the environment variable that has it.
        extensions: whether a remote server takes more than OpenAI's own fields (top-k, min-p,
            repetition penalty), as vLLM, llama-server and Atelier do.
        omit_fields, rename_fields, extra_fields: of what a remote server is sent, the fields to
            leave out, those to send by another name, and those to send besides; see
            :mod:`pipelines.chat.remote_fields`.
        timeout: seconds that a remote server may be silent.
        refused: why it is listed but cannot be used, or None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: Annotated[str, Field(max_length=200, pattern=r"^[^/\\\x00-\x1f]+$")]
    title: str
    backend: Backend
    source: ChatSource | None = None
    lora: str | None = None
    quantisation: Quantisation = "none"
    compiled: bool = False
    context_length: Annotated[int, Field(ge=64, le=10_000_000)] = 4096
    parallel: Annotated[int, Field(ge=1, le=64)] = 4
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    sampling: Sampling = Sampling()
    system_prompt: str = ""
    chat_template: str | None = None
    languages: tuple[str, ...] = ("en",)
    licence: str = ""
    licence_url: str | None = None
    description: str = ""
    download_bytes: Bytes = 0
    memory_bytes: Bytes = 0
    gated: bool = False
    url: str | None = None
    remote_model: str | None = None
    api_key: SecretStr | None = None
    api_key_env: str | None = None
    extensions: bool = True
    omit_fields: tuple[str, ...] = ()
    rename_fields: dict[str, str] = {}
    extra_fields: dict[str, JsonValue] = {}
    timeout: Annotated[float, Field(gt=0, le=3600)] = 120.0
    refused: Message | None = None

    def __hash__(self) -> int:
        """Equal entries have the same name; the fields with dictionaries have no hash."""
        return hash(self.name)

    @field_validator("url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        parts = urlsplit(url)  # raises ValueError, as does port
        if not parts.hostname or parts.port == 0 or not url.isprintable() or " " in url:
            raise ValueError("must have a host, such as http://127.0.0.1:8000/v1")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _whole(self) -> ChatEntry:
        if self.backend == "remote" and not self.url and self.refused is None:
            raise ValueError("a remote model needs a url")
        if self.backend != "remote" and self.source is None and self.refused is None:
            raise ValueError("a model that runs here needs a source")
        if self.lora and self.backend != "transformers":
            raise ValueError("a LoRA goes on top of a model of the backend transformers")
        if self.compiled and self.backend != "transformers":
            raise ValueError("only a model of the backend transformers can be compiled")
        check_fields(self)
        return self

    @property
    def key(self) -> str | None:
        """The key for the remote server, if there is one."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        return os.environ.get(self.api_key_env) if self.api_key_env else None

    @property
    def can_look_inside(self) -> bool:
        """Whether transformers can open it: all that runs here."""
        return self.backend != "remote"


class ChatCatalog:
    """All language models of one installation.

    Args:
        home: the home folder; its files are read again at every call.
        presets: the folder that has ``chat/``.
    """

    def __init__(self, home: Path, presets: Path = PRESETS) -> None:
        self.home, self._presets = home, presets

    def models(self) -> list[ChatEntry]:
        """The shipped ones in order, then those of the home folder by name.

        A file that cannot be understood is listed with the reason, under its own name.
        """
        entries: dict[str, ChatEntry] = {}
        for path in sorted((self._presets / FOLDER).glob("*.yaml")):
            entry = _read(path)
            entries[entry.name] = entry
        for path in sorted((self.home / FOLDER).glob("*.yaml")):
            try:
                if (refused := refused_name(path)) is not None:
                    raise UserError(refused.template, **refused.values)
                entry = _read(path)
            except UserError as error:
                entry = _broken(path, error)
            entries[entry.name] = entry  # one's own file may change a shipped model
        return list(entries.values())

    def get(self, name: str) -> ChatEntry:
        """The entry called ``name``.

        Raises:
            NotFound: there is none; the sentence offers the closest names.
            Refused: its file cannot be used; the sentence says why.
        """
        if name.startswith(OWN):
            return self._own(name)
        entries = {entry.name: entry for entry in self.models()}
        entry = entries.get(name)
        if entry is None:
            raise unknown_name(name, entries)
        if entry.refused is not None:
            raise Refused(entry.refused.template, **entry.refused.values)
        return entry

    def _own(self, name: str) -> ChatEntry:
        """A model that was made here; whose it is, the studio checks."""
        from pipelines.chat.shelf import ChatShelf

        return ChatShelf(self.home).entry(name.removeprefix(OWN))

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
        return _existing(Path(spec.origin).parent / source.file, entry)
    if source.hub:
        from pipelines.chat.downloads import find_download

        return find_download(source.hub, source.file, home / HUB_FOLDER)
    return _existing(home / FOLDER / (source.folder or source.file), entry)


def _existing(path: Path, entry: ChatEntry) -> Path:
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
    return _parsed(path, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, changed: int, size: int) -> ChatEntry:
    """What :func:`_read` reads, kept until the file changes: every answer looks at all of them."""
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError("{file}: {reason}", file=path.name, reason=reason) from None
    if not isinstance(data, dict):
        raise UserError("{file}: it must hold one model's fields.", file=path.name)
    name = path.stem.split("-", 1)[-1] if path.stem[:2].isdigit() else path.stem
    try:
        return validated(ChatEntry, {"name": name, "title": name, **data})
    except UserError as error:
        raise UserError("{file}: {reason}", file=path.name, reason=str(error)) from None


def _broken(path: Path, error: UserError) -> ChatEntry:
    name = _UNPRINTABLE.sub("�", readable_name(path).removesuffix(".yaml"))[:200] or "�"
    return ChatEntry(name=name, title=name, backend="remote", refused=error.message, licence="?")


__all__ = [
    "CACHE_PREFIX",
    "FOLDER",
    "INSIDE_PREFIX",
    "OWN",
    "ChatCatalog",
    "ChatEntry",
    "ChatSource",
    "NotFound",
    "find",
]
