"""What the catalog of language models lists: entries, and where their files are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    field_validator,
    model_validator,
)

from pipelines.chat.backends.remote_fields import check_fields
from pipelines.chat.requests import Sampling
from pipelines.core.engine import StrictModel
from pipelines.core.messages import Message
from pipelines.models.catalog import Bytes

FOLDER = "chat"  # in presets and in the home folder
CACHE_PREFIX = "chat:"  # before a model's name in the model cache: as its backend runs it
EMBED_PREFIX = "embed:"  # a GGUF model that gives embeddings, in a worker of its own
INSPECT_PREFIX = "llama:"  # the same model as transformers has it, to look into
OWN = "own-chat:"  # before the id of a model that somebody has made here

Backend = Literal["llama.cpp", "transformers", "remote"]
Quantisation = Literal["none", "8bit", "4bit"]


class ChatSource(StrictModel):
    """Where a model's files are.

    Attributes:
        package: an installed Python package that has ``file`` in its folder.
        hub: a repository on the Hugging Face hub; of it ``file``, or all that transformers needs.
        folder: a transformers folder; relative to ``<home>/chat/``.
        file: a GGUF file; relative to ``<home>/chat/`` when it stands alone.
    """

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
            :mod:`pipelines.chat.backends.remote_fields`.
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
    def can_inspect(self) -> bool:
        """Whether transformers can open it: all that runs here."""
        return self.backend != "remote"
