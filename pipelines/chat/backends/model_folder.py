"""Whether a folder holds what a transformers model needs, looked at before transformers opens it.

Its own errors name none of what people have most often: a download that is not complete, pointers
of Git LFS in the place of files, an adapter without its base.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.chat.downloads import INDEX, WHOLE, list_shards
from pipelines.core.errors import Unavailable
from pipelines.models.local_models import PICKLES

_POINTER = b"version https://git-lfs"
MAX_PARTS = 10_000  # blocks, or experts in one; the largest models have some hundred
_COUNTS = (
    "num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_experts", "num_local_experts",
    "n_routed_experts",
)  # fmt: skip
_READ = ("config.json", "tokenizer_config.json", "special_tokens_map.json")
# One of these, by whichever name a family has it, holds the words of a tokenizer.
_VOCABULARIES = (
    "tokenizer.json", "*.model", "vocab*", "*.tiktoken", "tekken.json", "*.bpe", "merges.txt",
)  # fmt: skip


def check_folder(folder: Path, title: str) -> None:
    """Raises Unavailable where a folder is not a whole model in safetensors; says what is not so.

    Args:
        title: the model's, for the sentence.
    """
    for path in sorted(folder.glob("*")):
        check_pointer(path, title)
    config = {name: _object(folder / name, title) for name in _READ}["config.json"]
    if config is None and (folder / "adapter_config.json").is_file():
        raise Unavailable(
            "The folder of {model} holds an adapter (LoRA) and no model. In the model's file, name "
            "its base under source and this folder under lora.",
            model=title,
        )
    if config is None:
        raise _missing_file("config.json", title)
    _check_counts(config, title)
    _check_weights(folder, title)
    if not any(any(folder.glob(pattern)) for pattern in _VOCABULARIES):
        raise Unavailable(
            "{model} has no tokenizer in its folder (tokenizer.json or tokenizer.model). Copy it "
            "from the model that this one was made from.",
            model=title,
        )


def check_pointer(path: Path, title: str) -> None:
    """Raises Unavailable where a file of a model only says where Git LFS has it."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        if file.read(len(_POINTER)) != _POINTER:
            return
    raise Unavailable(
        "{file} of {model} is a pointer of Git LFS in the place of the file itself. Fetch it by "
        "git lfs pull, or download it again.",
        file=path.name,
        model=title,
    )


def _check_counts(config: dict[str, Any], title: str) -> None:
    """Raises Unavailable for more parts than are ever built: each takes memory before its weights
    are looked for."""
    inner = config.get("text_config")
    for facts in (config, inner if isinstance(inner, dict) else {}):
        for name in _COUNTS:
            if isinstance(count := facts.get(name), int) and count > MAX_PARTS:
                raise Unavailable(
                    "config.json of {model} says {count} of {name}; no model has more than "
                    "{limit}. Download it again.",
                    model=title,
                    count=count,
                    name=name,
                    limit=MAX_PARTS,
                )


def _check_weights(folder: Path, title: str) -> None:
    if (folder / INDEX).is_file() and not (folder / WHOLE).is_file():
        shards = list_shards(folder)
        if shards is None:
            raise _unreadable_file(INDEX, title)
        for name in sorted(shards):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise Unavailable(
                    "{index} of {model} names {file} among the weights; they are read from "
                    ".safetensors files in the model's own folder only.",
                    index=INDEX,
                    model=title,
                    file=name[:100],
                )
            if not (folder / name).is_file():
                raise _missing_file(name, title)
    elif not (folder / WHOLE).is_file():
        if any(path.suffix in PICKLES for path in folder.glob("*")):
            raise Unavailable(
                "{model} has its weights in pickle files, which Atelier never opens. Convert them "
                "to .safetensors.",
                model=title,
            )
        raise _missing_file(WHOLE, title)


def _object(path: Path, title: str) -> dict[str, Any] | None:
    """The object in a file of JSON, or None where there is no file."""
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise _unreadable_file(path.name, title)
    return data


def _missing_file(name: str, title: str) -> Unavailable:
    return Unavailable("The file {file} of {model} is not there.", file=name, model=title)


def _unreadable_file(name: str, title: str) -> Unavailable:
    return Unavailable(
        "{file} of {model} is not the JSON that transformers writes. Download it again.",
        file=name,
        model=title,
    )
