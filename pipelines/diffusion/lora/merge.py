"""Several LoRAs made into one, or worked into a model for good.

The sum of products is a product of longer factors: Σ wᵢ·Uᵢ·Dᵢ = [w₁U₁ w₂U₂ …]·[D₁; D₂; …], exactly.
A smaller rank keeps the largest singular values of that sum, the nearest that any product of this
rank comes (Eckart and Young 1936). They are found from the factors, without the large product.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.events import Progress, Result
from pipelines.core.messages import Message
from pipelines.diffusion.lora.apply import apply_loras
from pipelines.diffusion.lora.families import BASE_VERSIONS, family_of_unet, title_of
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.record import LoraRecord
from pipelines.diffusion.lora.requests import MergeRequest
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.lora.weights import Factors, as_diffusers
from pipelines.models.catalog import OWN


def run(
    request: MergeRequest, cache: ModelCache, stop: threading.Event
) -> Iterator[Progress | Result]:
    """Merge, and put the result in the library of ``request.owner``.

    Raises:
        Stopped: ``stop`` was set before the merging began.
        UserError: some cannot be merged; the sentence says which and why.
        OSError: the disk is full.
    """
    library = LoraLibrary(cache.home)
    if request.model is None:
        yield Progress(0, 1, note=Message("Merging {count} LoRAs", count=len(request.loras)))
        if stop.is_set():
            raise Stopped
        record = merge_into_lora(library, request)
    else:
        yield from cache.warm(request.model, stop)
        with cache.lease(request.model) as model:
            yield Progress(0, 1, note=Message("Merging {count} LoRAs", count=len(request.loras)))
            if stop.is_set():
                raise Stopped
            record = merge_into_model(library, request, model)
    yield Result({"lora": record.id, "name": record.name, "kind": record.kind})


def merge_into_lora(library: LoraLibrary, request: MergeRequest) -> LoraRecord:
    """One LoRA of several, in the library of the request's owner.

    Raises:
        BadRequest: they are made for different families, or do not fit together.
    """
    found = _find_entries(library, request.loras)
    first, others = found[0][1], [record for _, record in found[1:]]
    for other in others:
        if "" not in (first.family, other.family) and first.family != other.family:
            raise BadRequest(
                "{first} is made for {family} and {second} for {other}; they cannot be one LoRA.",
                first=first.name,
                family=title_of(first.family),
                second=other.name,
                other=title_of(other.family),
            )
    parts = [piece for use, record in found for piece in _weigh(library.factors(record), use)]
    factors = merge_factors(parts, request.rank)
    records = [record for _, record in found]
    family = next((record.family for record in records if record.family), "")
    bases = {record.base for record in records}
    return library.add(
        request.owner,
        request.name,
        save(as_diffusers(factors), {"ss_base_model_version": BASE_VERSIONS.get(family, "")}),
        id=request.id,
        triggers=tuple(word for record in records for word in record.triggers),
        base=bases.pop() if len(bases) == 1 else None,
        sources=_sources(records),
        subjects=_subjects(records),
    )


def merge_into_model(library: LoraLibrary, request: MergeRequest, model) -> LoraRecord:
    """A whole model with the LoRAs in its weights, in the library of the request's owner.

    Args:
        model: the leased :class:`pipelines.diffusion.loading.DiffusionModel`.

    Raises:
        BadRequest: one of them does not fit the model.
    """
    found = _find_entries(library, request.loras)
    records = [*(record for _, record in found), *_own_model(library, model)]

    def write(folder: Path) -> None:
        uses = [use for use, _ in found]
        with apply_loras(model, uses, library.home):
            model.pipe.save_pretrained(folder, safe_serialization=True)

    return library.add_model(
        request.owner,
        request.name,
        write,
        family=family_of_unet(model.pipe.unet.config),
        id=request.id,
        triggers=tuple(word for _, record in found for word in record.triggers),
        base=model.entry.name,
        sources=_sources(records),
        subjects=_subjects(records),
    )


def _weigh(
    factors: Mapping[str, Factors], use: LoraUse
) -> list[tuple[Mapping[str, Factors], float]]:
    """A LoRA as what it has for the U-Net and for the text encoders, each with its weight."""
    unet = {key: each for key, each in factors.items() if key.startswith("unet.")}
    texts = {key: each for key, each in factors.items() if key not in unet}
    return [(unet, use.weight_of("unet")), (texts, use.weight_of("text_encoder"))]


def _sources(records: Sequence[LoraRecord]) -> tuple[str, ...]:
    """Whoever deletes a subject deletes what its LoRAs were merged into as well."""
    ids = [id for record in records for id in (record.id, *record.sources)]
    return tuple(dict.fromkeys(ids))


def _subjects(records: Sequence[LoraRecord]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(id for record in records for id in record.subjects))


def _own_model(library: LoraLibrary, model) -> list[LoraRecord]:
    name = model.entry.name
    return [library.by_id(name.removeprefix(OWN))] if name.startswith(OWN) else []


def merge_factors(
    loras: Sequence[tuple[Mapping[str, Factors], float]], rank: int | None = None
) -> dict[str, Factors]:
    """The weighted sum of LoRAs as one, float32, alpha = rank.

    Args:
        loras: each with its weight.
        rank: of the result; None: the sum of all, which is exact.

    Raises:
        BadRequest: they change the same module in shapes that do not fit.
    """
    together: dict[str, list[Factors]] = {}
    for factors, weight in loras:
        for key, each in factors.items():
            up = each.up.float() * (each.scale * weight)
            together.setdefault(key, []).append(Factors(each.down.float(), up))
    result = {}
    for key, parts in together.items():
        shapes = {(part.down.shape[1:], part.up.shape[:1], part.up.shape[2:]) for part in parts}
        if len(shapes) > 1:
            raise BadRequest(
                "These LoRAs change {module} in different shapes; they cannot be one LoRA.",
                module=key[:150],
            )
        whole = Factors(
            torch.cat([part.down for part in parts]), torch.cat([part.up for part in parts], dim=1)
        )
        result[key] = whole if rank is None else reduce_rank(whole, rank)
    return result


def reduce_rank(factors: Factors, rank: int) -> Factors:
    """The nearest of ``rank``, by the singular values of up·down; itself where it has no more."""
    if factors.rank <= rank:
        return factors
    up = factors.up.flatten(1).double()  # (out, r)
    down = factors.down.flatten(1).double()  # (r, in·k·k)
    q_up, r_up = torch.linalg.qr(up)
    q_down, r_down = torch.linalg.qr(down.T)
    u, sizes, v = torch.linalg.svd(r_up @ r_down.T, full_matrices=False)
    rank = min(rank, len(sizes))
    root = sizes[:rank].sqrt()
    new_up = (q_up @ u[:, :rank] * root).float()  # (out, rank)
    new_down = (root[:, None] * (v[:rank] @ q_down.T)).float()  # (rank, in·k·k)
    return Factors(
        new_down.reshape(rank, *factors.down.shape[1:]),
        new_up.reshape(-1, rank, *factors.up.shape[2:]),
    )


def _find_entries(
    library: LoraLibrary, uses: Sequence[LoraUse]
) -> list[tuple[LoraUse, LoraRecord]]:
    found = [(use, library.find(use)) for use in uses]
    for _, record in found:
        if record.kind != "lora":
            raise BadRequest("{name} is no LoRA, so it cannot be merged.", name=record.name)
    return found
