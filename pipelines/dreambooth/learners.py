"""What learns: a LoRA, all of the UNet, or a new word's embedding. The rest stays as it is.

Each learner marks what it trains, gives it to the optimiser in groups, and writes what it has
learnt in the format that other tools read.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.training_utils import _collate_lora_metadata, cast_training_params
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from pipelines.dreambooth.base import Base
from pipelines.dreambooth.data.identifiers import no_new_word
from pipelines.dreambooth.requests import TrainingRequest

WEIGHTS = "weights.safetensors"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TRANSFORMER = (*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
CONVOLUTIONS = (
    *("conv_in", "conv_out", "conv1", "conv2", "conv_shortcut", "time_emb_proj"),
    *("downsamplers.0.conv", "upsamplers.0.conv"),
)
TARGETS = {
    "attention": ATTENTION,
    "transformer": TRANSFORMER,
    "decoder": TRANSFORMER + CONVOLUTIONS,
    "all": TRANSFORMER + CONVOLUTIONS,
}
_ENCODER = r"down_blocks\..*|conv_in"
"""What "decoder" leaves as it is: gradients need not pass through the first half of the UNet."""
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


class Learner(ABC):
    """Trains some weights of a base.

    Attributes:
        base: the model; its weights that do not learn are frozen.
        text_learns: whether gradients pass through the text encoders.
    """

    text_learns = False

    def __init__(self, request: TrainingRequest, base: Base) -> None:
        self.request, self.base = request, base

    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        """All that learns, by names that stay the same when the training is resumed."""
        modules = {"unet": self.base.unet}
        if self.text_learns:
            modules |= {f"text{i}": each for i, each in enumerate(self.base.text_encoders)}
        return {
            f"{side}.{name}": parameter
            for side, module in modules.items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }

    @abstractmethod
    def export(self, folder: Path) -> dict[str, Any]:
        """Writes what was learnt into ``folder``; returns facts for its ``about.json``."""

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.parameters_by_name().values())

    def groups(self) -> list[dict[str, Any]]:
        """For the optimiser: ``{"params": …, "lr": …}`` of the UNet, and of the text encoders."""
        request = self.request
        text_rate = request.text_encoder_learning_rate or request.learning_rate
        sides = {"unet": request.learning_rate, "text": text_rate}
        groups = []
        for side, rate in sides.items():
            own = [p for name, p in self.parameters_by_name().items() if name.startswith(side)]
            if own:
                groups.append({"params": own, "lr": rate})
        return groups

    def state(self) -> dict[str, Tensor]:
        """Copies on the CPU of all that learns."""
        return {name: p.detach().cpu().clone() for name, p in self.parameters_by_name().items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Takes a :meth:`state` back."""
        named = self.parameters_by_name()
        if named.keys() != state.keys():
            raise ValueError("the checkpoint holds other weights than this training learns")
        for name, parameter in named.items():
            parameter.copy_(state[name])


class LoraLearner(Learner):
    """W + (alpha/rank)·BA on chosen layers, A random and B zero, so that it begins as W."""

    def __init__(self, request: TrainingRequest, base: Base) -> None:
        super().__init__(request, base)
        self.text_learns = request.train_text_encoder
        targets = TARGETS[request.target_modules]
        left_out = _ENCODER if request.target_modules == "decoder" else None
        _add_lora(base.unet, request, targets, left_out)
        if self.text_learns:
            for encoder in base.text_encoders:
                _add_lora(encoder, request, TEXT_TARGETS)
        base.lower_frozen_weights()
        cast_training_params([base.unet, *base.text_encoders], dtype=torch.float32)

    def export(self, folder: Path) -> dict[str, Any]:
        base = self.base
        modules = {"unet": base.unet}
        if self.text_learns:
            names = ("text_encoder", "text_encoder_2")
            modules |= dict(zip(names, base.text_encoders, strict=False))
        layers = {
            f"{name}_lora_layers": {
                # PEFT's names throughout. diffusers' own converter renames attention layers only,
                # and its loader then passes them over in a file that has others too.
                key: tensor.detach().float().cpu().contiguous()
                for key, tensor in get_peft_model_state_dict(module).items()
            }
            for name, module in modules.items()
        }
        base.pipe.save_lora_weights(
            folder, weight_name=WEIGHTS, **layers, **_collate_lora_metadata(modules)
        )
        alpha = self.request.alpha or self.request.rank
        return {"kind": "lora", "rank": self.request.rank, "alpha": alpha}


class FullLearner(Learner):
    """Every weight of the UNet, and of the text encoders where that was asked for."""

    def __init__(self, request: TrainingRequest, base: Base) -> None:
        super().__init__(request, base)
        self.text_learns = request.train_text_encoder
        base.unet.requires_grad_(True)
        if self.text_learns:
            for encoder in base.text_encoders:
                encoder.requires_grad_(True)

    def export(self, folder: Path) -> dict[str, Any]:
        # Half precision, as models are handed around; the training ends with this.
        self.base.pipe.to(dtype=torch.float16)
        self.base.pipe.save_pretrained(folder / "model", safe_serialization=True)
        return {"kind": "model"}


class GrowingEmbedding(nn.Module):
    """An embedding whose first rows are frozen and whose last, new rows learn.

    Args:
        known: the rows that there are, (V, D).
        rows: how the new ones begin, (n, D).
    """

    def __init__(self, known: Tensor, rows: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(known, requires_grad=False)
        self.rows = nn.Parameter(rows.float().clone())

    def forward(self, ids: Tensor) -> Tensor:
        """(…, D) for ids below V + n."""
        count = len(self.weight)
        known = F.embedding(ids.clamp(max=count - 1), self.weight)
        new = F.embedding((ids - count).clamp(min=0), self.rows).to(known.dtype)
        return torch.where((ids >= count)[..., None], new, known)


class WordLearner(Learner):
    """Textual inversion (https://arxiv.org/abs/2208.01618): the rows of a new word, nothing else.

    They begin as the class word's. The other rows are not among what the optimiser sees, so that
    they stay bit for bit what they were.
    """

    text_learns = True

    def __init__(self, request: TrainingRequest, base: Base) -> None:
        super().__init__(request, base)
        word = request.identifier
        # diffusers reads "word" in a prompt as "word word_1 …".
        self.tokens = [word, *(f"{word}_{i}" for i in range(1, request.vectors))]
        self.embeddings: list[GrowingEmbedding] = []
        for tokenizer, encoder in base.text_parts:
            _fit_to_vocabulary(tokenizer, encoder)
            begin = tokenizer(request.class_word or "thing", add_special_tokens=False).input_ids
            known_already = len(tokenizer(word, add_special_tokens=False).input_ids) == 1
            if known_already or tokenizer.add_tokens(self.tokens) != len(self.tokens):
                raise no_new_word(word, base.entry, request.class_word)
            known = encoder.get_input_embeddings().weight
            rows = torch.stack([known[begin[i % len(begin)]] for i in range(request.vectors)])
            embedding = GrowingEmbedding(known.data, rows).to(base.device)
            encoder.set_input_embeddings(embedding)
            self.embeddings.append(embedding)
        base.lower_frozen_weights()

    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        return {f"text{i}.rows": each.rows for i, each in enumerate(self.embeddings)}

    def groups(self) -> list[dict[str, Any]]:
        """One, at the learning rate: that of the text encoder is for its own weights."""
        return [{"params": self.parameters, "lr": self.request.learning_rate}]

    def export(self, folder: Path) -> dict[str, Any]:
        rows = [each.rows.detach().float().cpu().contiguous() for each in self.embeddings]
        # The names that A1111 and ComfyUI read; diffusers does when it is told the word.
        names = ["emb_params"] if len(rows) == 1 else ["clip_l", "clip_g"]
        save_file(dict(zip(names, rows, strict=True)), folder / WEIGHTS, {"format": "pt"})
        return {"kind": "embedding", "token": self.request.identifier, "vectors": len(rows[0])}


LEARNERS = {"lora": LoraLearner, "full": FullLearner, "textual_inversion": WordLearner}


def write_result(learner: Learner, folder: Path, facts: dict[str, Any]) -> None:
    """Exports into ``folder``; ``about.json`` is written last, so what has one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.json").unlink(missing_ok=True)
    about = learner.export(folder) | facts
    (folder / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def _add_lora(
    module: Any, request: TrainingRequest, targets: tuple[str, ...], left_out: str | None = None
) -> None:
    module.add_adapter(
        LoraConfig(
            r=request.rank,
            lora_alpha=request.alpha or request.rank,
            lora_dropout=request.dropout,
            target_modules=list(targets),
            exclude_modules=left_out,
            init_lora_weights="gaussian",
        )
    )
    for each in module.modules():
        if isinstance(each, LoraLayer):  # autocast would turn float32 back at once
            each.cast_input_dtype_enabled = False


def _fit_to_vocabulary(tokenizer: Any, encoder: Any) -> None:
    """Some text encoders have more or fewer rows than their tokenizer has words; new ones begin
    where both end."""
    if encoder.get_input_embeddings().weight.shape[0] != len(tokenizer):
        encoder.resize_token_embeddings(len(tokenizer))
        encoder.requires_grad_(False)
