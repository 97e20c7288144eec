"""LoRAs as files for other tools: diffusers' ``pytorch_lora_weights.safetensors`` and kohya's.

kohya's format is what A1111, Forge, ComfyUI and Civitai read: alpha keys, and metadata that names
rank, alpha, base, trigger words and the hash by which pictures refer to it. Source of the names:
``networks/lora.py`` and ``train_util.py`` of sd-scripts, and Stability's ModelSpec 1.0.1.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import save

from pipelines.diffusion.lora.families import ARCHITECTURES, BASE_VERSIONS, title_of
from pipelines.diffusion.lora.formats import METADATA_KEY
from pipelines.diffusion.lora.weights import Factors, adapter_metadata, as_diffusers, as_kohya


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file says about itself.

    Attributes:
        name: its title.
        family, base, triggers: as :class:`pipelines.diffusion.lora.formats.LoraFile`.
        sha256: by which pictures refer to it, or None: that of the file that is written.
        created: seconds since 1970.
    """

    name: str
    family: str
    base: str | None
    triggers: tuple[str, ...]
    sha256: str | None
    created: float


def diffusers_file(factors: Mapping[str, Factors]) -> bytes:
    """For diffusers' ``load_lora_weights`` of any version: alpha is worked into the weights."""
    baked = {key: each.bake_alpha() for key, each in factors.items()}
    return save(as_diffusers(baked), {"format": "pt"})


def kept_file(factors: Mapping[str, Factors], metadata: Mapping[str, str]) -> bytes:
    """For the library: diffusers' layout with the weights as they came, alphas in the metadata."""
    own = {"format": "pt", METADATA_KEY: json.dumps(adapter_metadata(factors))}
    return save(as_diffusers(factors), {**metadata, **own})


def kohya_file(factors: Mapping[str, Factors], facts: Facts) -> bytes:
    """For A1111, Forge, ComfyUI and sd-scripts."""
    tensors = as_kohya(factors, facts.family)
    rank = Counter(each.rank for each in factors.values()).most_common(1)[0][0]
    alpha = Counter(each.scale * each.rank for each in factors.values()).most_common(1)[0][0]
    metadata = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha),
        **_describe(facts),
    }
    if facts.sha256:
        metadata["sshs_model_hash"] = facts.sha256
    if any(each.down.ndim == 4 and each.down.shape[-1] > 1 for each in factors.values()):
        metadata["ss_network_args"] = json.dumps({"conv_dim": rank, "conv_alpha": alpha})
    return save(tensors, metadata)


def embedding_file(vectors: Mapping[str, torch.Tensor], facts: Facts, style: str) -> bytes:
    """The vectors of a learned word, for A1111 (``kohya``) or ``load_textual_inversion``."""
    if "text_encoder_2" in vectors:  # both read SDXL's pair by these names
        names = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
    else:
        word = facts.triggers[0] if facts.triggers else facts.name
        names = {"text_encoder": "emb_params" if style == "kohya" else word}
    tensors = {names[part]: each.contiguous() for part, each in vectors.items()}
    return save(tensors, _describe(facts))


def _describe(facts: Facts) -> dict[str, str]:
    metadata = {
        "ss_output_name": facts.name,
        "ss_base_model_version": BASE_VERSIONS.get(facts.family, facts.family),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": "https://github.com/kohya-ss/sd-scripts",
        "modelspec.title": facts.name,
        "modelspec.date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(facts.created)),
        "modelspec.description": f"For {title_of(facts.family)}. Made with Atelier.",
    }
    if facts.family in ARCHITECTURES:
        metadata["modelspec.architecture"] = ARCHITECTURES[facts.family]
    if facts.base:
        metadata["ss_sd_model_name"] = facts.base
    if facts.triggers:
        metadata["modelspec.trigger_phrase"] = ", ".join(facts.triggers)
        # kohya's viewers look for trigger words among the tags of a training folder.
        frequency = {f"1_{facts.name}": dict.fromkeys(facts.triggers, 1)}
        metadata["ss_tag_frequency"] = json.dumps(frequency, ensure_ascii=False)
    return metadata
