"""LoRAs in a model for as long as one request lasts; afterwards its weights are the same bits.

ΔW is added to the weights themselves: painting then costs nothing more, and every sampler,
ControlNet and adapter sees the changed model. What is changed is copied first and copied back at
the end, however the end comes; subtracting instead would leave rounding errors behind.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AddedToken

from pipelines.core.devices import is_out_of_memory, out_of_memory
from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora.families import family_of_unet, title_of
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.names import PARTS
from pipelines.diffusion.lora.record import LoraRecord
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.lora.weights import Factors
from pipelines.diffusion.prompts import learned_tokens
from pipelines.diffusion.samplers import UNET_FAMILIES
from pipelines.models.catalog import OWN

HASH_DIGITS = 12  # of a LoRA's hash in a picture's settings
_TOKENIZERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}


@dataclass(frozen=True, slots=True)
class AppliedUse:
    """One LoRA or learned word at work.

    Attributes:
        use: its name and weights.
        matched: how many modules (of an embedding: text encoders) it changes.
        keys: how many it has something for.
    """

    use: LoraUse
    record: LoraRecord
    matched: int
    keys: int

    def to_json(self) -> dict[str, Any]:
        weights = self.use.model_dump(include={"name", "weight", "text_weight"}, exclude_none=True)
        return {**weights, "matched": self.matched, "keys": self.keys}


@dataclass(frozen=True, slots=True)
class Applied:
    """All that is at work while a request is painted."""

    model: str
    uses: tuple[AppliedUse, ...] = ()
    title: str | None = None

    @property
    def facts(self) -> dict[str, str]:
        """What the metadata of pictures says, under A1111's names."""
        facts = {} if self.title is None else {"Model": self.title}
        for name, kind in (("Lora hashes", "lora"), ("TI hashes", "embedding")):
            hashes = [
                f"{use.use.name}: {use.record.sha256[:HASH_DIGITS]}"
                for use in self.uses
                if use.record.kind == kind
            ]
            if hashes:
                facts[name] = ", ".join(hashes)
        return facts

    @property
    def notes(self) -> list[Message]:
        """How much of each LoRA fits this model, and what of its file has no meaning."""
        left_out = [
            Message(
                "{count} tensors of the LoRA {name} have no meaning here and are left out.",
                count=use.record.unread,
                name=use.use.name,
            )
            for use in self.uses
            if use.record.unread
        ]
        fits = [
            Message(
                "{matched} of {keys} modules of the LoRA {name} fit {model}."
                if use.matched == use.keys
                else "{matched} of {keys} modules of the LoRA {name} fit {model}; the rest is left "
                "out.",
                matched=use.matched,
                keys=use.keys,
                name=use.use.name,
                model=self.model,
            )
            for use in self.uses
            if use.record.kind == "lora"
        ]
        return fits + left_out

    def to_json(self) -> list[dict[str, Any]]:
        return [use.to_json() for use in self.uses]


@contextmanager
def apply_loras(
    model: DiffusionModel, uses: Sequence[LoraUse], home: Path | None
) -> Iterator[Applied]:
    """The model with ``uses`` at work; those with weight 0 are as if they were not there.

    While a LoRA changes the U-Net, ``model.unet`` is PyTorch's: a stand-in that was made of the
    unchanged weights would paint without it.

    Args:
        model: leased.
        uses: with ids. One without is looked for in everybody's library only, by name.
        home: the home folder with the library.

    Raises:
        BadRequest: one does not fit the model; names both families.
        NotFound: one is no longer there.
        Busy: another request is painting on this model, so its weights cannot be changed now.
        OutOfMemory: there is no room for the changes.
    """
    own = model.entry.title if model.entry.name.startswith(OWN) else None
    wanted = [use for use in uses if use.works]
    if not wanted:
        with model.hold():
            yield Applied(model.entry.title, title=own)
        return
    if model.family not in UNET_FAMILIES:
        raise BadRequest(
            "{model} takes no LoRAs here; choose a Stable Diffusion model.", model=model.entry.title
        )
    library = LoraLibrary(home)
    found = [(use, library.find(use)) for use in wanted]
    with ExitStack() as undo:
        undo.enter_context(model.hold(alone=True))
        changes = Changes(model)
        done = []
        for use, record in found:
            if record.kind == "embedding":
                learned = _learn(model, use, record, library.vectors(record), undo)
                done.append(AppliedUse(use, record, learned, learned))
            else:
                factors = library.factors(record)
                matched = changes.add(factors, use, record)
                done.append(AppliedUse(use, record, matched, len(factors)))
        if any(part == "unet" for part, _ in changes.modules):
            undo.enter_context(model.in_torch())
        undo.enter_context(changes.apply())
        yield Applied(model.entry.title, tuple(done), own)


class Changes:
    """What several LoRAs add to the weights of one model."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model
        self.modules: dict[tuple[str, str], list[tuple[Factors, float]]] = {}
        self._known = {
            part: _changeable(module)
            for part in PARTS
            if (module := getattr(model.pipe, part, None)) is not None
        }

    def add(self, factors: Mapping[str, Factors], use: LoraUse, record: LoraRecord) -> int:
        """Notes a LoRA; returns how many of its modules the model has.

        Raises:
            BadRequest: it is made for another family, or no module fits; names both.
        """
        family = family_of_unet(self.model.pipe.unet.config)
        matched = 0
        if record.family in ("", family):
            for key, each in factors.items():
                part, _, name = key.partition(".")
                parameter = self._known.get(part, {}).get(_short(name))
                if parameter is not None and each.fits(parameter.weight.shape):
                    matched += 1
                    if weight := use.weight_of(part):
                        self.modules.setdefault((part, _short(name)), []).append((each, weight))
        if not matched and not record.family:
            raise BadRequest(
                "The LoRA {name} does not fit {model}: of its {count} modules the model has none "
                "of the same name and shape. Choose another LoRA, or another model.",
                name=record.name,
                model=self.model.entry.title,
                count=len(factors),
            )
        if not matched:
            raise BadRequest(
                "The LoRA {name} is made for {family}, but {model} is {other}: none of its {count} "
                "modules fits. Choose another LoRA, or another model.",
                name=record.name,
                family=title_of(record.family),
                model=self.model.entry.title,
                other=title_of(family),
                count=len(factors),
            )
        return matched

    @contextmanager
    def apply(self) -> Iterator[None]:
        """The weights with all changes; at the end the bits are what they were."""
        kept: list[tuple[torch.nn.Module, torch.Tensor]] = []
        try:
            try:
                for (part, name), changes in self.modules.items():
                    module = self._known[part][name]
                    kept.append((module, module.weight.detach().to("cpu", copy=True)))
                    _change(module.weight, changes)
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    device = self.model.device
                    raise out_of_memory(error, device, self.model.entry.title) from error
                raise
            yield
        finally:
            with torch.no_grad():
                for module, original in kept:
                    module.weight.copy_(original)


@torch.no_grad()
def _change(weight: torch.nn.Parameter, changes: Iterable[tuple[Factors, float]]) -> None:
    """W + Σ w·ΔW, summed up in float32 and rounded once."""
    total = weight.to(torch.float32, copy=True)
    for factors, user_weight in changes:
        total += user_weight * factors.delta(weight)
    weight.copy_(total)


def _changeable(part: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Name → module, of all that LoRAs change."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return {_short(name): each for name, each in part.named_modules() if isinstance(each, kinds)}


def _short(name: str) -> str:
    """Text encoders' modules without ``text_model.``, which not all of their classes have."""
    return name.removeprefix("text_model.")


# --- learned words --------------------------------------------------------------------------------


def _learn(
    model: DiffusionModel,
    use: LoraUse,
    record: LoraRecord,
    vectors: Mapping[str, torch.Tensor],
    undo: ExitStack,
) -> int:
    """Teaches the text encoders a word, and has ``undo`` make them forget it.

    Tokenizer and embedding matrix are replaced by longer ones, so the old ones stay as they are.

    Raises:
        BadRequest: the vectors are of another width than the text encoder's.
    """
    parts = [part for part in vectors if getattr(model.pipe, part, None) is not None]
    widths = {part: getattr(model.pipe, part).get_input_embeddings().embedding_dim
              for part in parts}  # fmt: skip
    two = getattr(model.pipe, "text_encoder_2", None) is not None
    if two != ("text_encoder_2" in vectors) or any(
        vectors[part].shape[-1] != width for part, width in widths.items()
    ):
        raise BadRequest(
            "The learned word {name} is made for {family}, but {model} is {other}. Choose another "
            "one, or another model.",
            name=record.name,
            family=title_of(record.family),
            model=model.entry.title,
            other=title_of(family_of_unet(model.pipe.unet.config)),
        )
    # A word that the tokenizer knows already stays what it is.
    tokens = learned_tokens(record.id, len(next(iter(vectors.values()))))
    for part in parts:
        undo.enter_context(_longer(model.pipe, part, tokens, use.weight_of(part) * vectors[part]))
    words = {record.name, use.name, *record.triggers[:1]}
    before = model.learned
    model.learned = before | dict.fromkeys(words, " ".join(tokens))
    undo.callback(setattr, model, "learned", before)
    return len(parts)


@contextmanager
def _longer(pipe: Any, part: str, tokens: list[str], vectors: torch.Tensor) -> Iterator[None]:
    """A text encoder and its tokenizer with further tokens."""
    encoder, name = getattr(pipe, part), _TOKENIZERS[part]
    tokenizer = getattr(pipe, name)
    longer = copy.deepcopy(tokenizer)
    longer.add_tokens([AddedToken(token, normalized=False) for token in tokens])
    embedding = encoder.get_input_embeddings()
    old = embedding.weight
    first = longer.convert_tokens_to_ids(tokens[0])
    last = first + len(tokens)
    # The matrix may have been longer or shorter than the list of tokens.
    weight = old.detach().new_zeros(max(last, len(old)), old.shape[1])
    weight[: len(old)] = old.detach()
    weight[first:last] = vectors.to(weight)
    # Older configurations find a prompt's end as its highest token, which it no longer is.
    pooling = getattr(encoder, "text_model", encoder)
    end = pooling.eos_token_id
    try:
        embedding.weight = torch.nn.Parameter(weight, requires_grad=False)
        embedding.num_embeddings = len(weight)
        pooling.eos_token_id = tokenizer.eos_token_id
        setattr(pipe, name, longer)
        yield
    finally:
        setattr(pipe, name, tokenizer)
        pooling.eos_token_id = end
        old.data = old.data.to(embedding.weight.device)  # an offloaded model may have moved
        embedding.weight, embedding.num_embeddings = old, len(old)
