"""A language model from a folder or a GGUF file, in full weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any


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
