"""A model is loaded in full weights, and saved as a folder that is whole whenever it is there."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from pipelines.chat.pruning.folder import ABOUT
from pipelines.core.errors import Unavailable
from pipelines.core.files import is_full
from pipelines.core.sizes import format_bytes

_OTHERS = re.compile(r"[^a-z0-9]+")


def save_model(model: Any, tokenizer: Any, path: Path) -> None:
    """Writes safetensors, config and tokenizer; ``path`` is there only when all of it is.

    Raises:
        Unavailable: the disk is full.
    """
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
    except Exception as error:
        shutil.rmtree(part, ignore_errors=True)
        raise _full(error, path) from error
    # Whole from here on: it stays where it is, should it not take its place.
    shutil.rmtree(path, ignore_errors=True)
    os.replace(part, path)


def publish(source: Path, models: Path, name: str, id: str, about: dict[str, Any]) -> Path:
    """Copies a saved model into the folder of models, in the place of an earlier one of this id.

    Args:
        name: as people call it; the folder's name is made from it.
        id: of the pruning; its first digits keep folders of one name apart.
        about: written beside the weights as ``atelier.json``.

    Raises:
        Unavailable: the disk is full; what lay there is still there.
    """
    models.mkdir(parents=True, exist_ok=True)
    slug = _OTHERS.sub("-", name.casefold()).strip("-")[:60] or "model"
    path = models / f"{slug}-{id[:8]}"
    part = models / f".{path.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        shutil.copytree(source, part)
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (part / ABOUT).write_text(text, encoding="utf-8")
        for old in models.glob(f"*-{id[:8]}"):  # of this pruning, perhaps under an earlier name
            shutil.rmtree(old)
        os.replace(part, path)
    except Exception as error:
        shutil.rmtree(part, ignore_errors=True)
        raise _full(error, models) from error
    return path


def weights_bytes(path: Path) -> int:
    """Of the weight files in a model folder."""
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def _full(error: Exception, path: Path) -> Exception:
    """The sentence for a full disk; any other error as it is."""
    inner = error.__cause__ or error.__context__ or error
    if not (is_full(error) or is_full(inner) or "No space left" in str(error)):
        return error
    return Unavailable(
        "The disk is full: the model could not be written, {free} are free. Make room and try "
        "again.",
        free=format_bytes(shutil.disk_usage(path.parent).free),
    )


def load_model(path: Path, device: str = "cpu") -> tuple[Any, Any]:
    """``(model, tokenizer)`` of a transformers folder or of a ``.gguf`` file, for inference.

    float32 on a CPU, half precision on CUDA. Only safetensors and GGUF are read: a pickle can run
    any code.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from pipelines.core.devices import dtype_for

    where: dict[str, Any] = {"pretrained_model_name_or_path": path, "local_files_only": True}
    how: dict[str, Any] = {"use_safetensors": True}
    if path.suffix == ".gguf":
        where |= {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
        how = {"quantization_config": GgufConfig(dequantize=True)}
    model = AutoModelForCausalLM.from_pretrained(**where, **how, dtype=dtype_for(device))
    return model.to(device).eval(), AutoTokenizer.from_pretrained(**where)
