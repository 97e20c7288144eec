"""The engines of "Shorten it": score the blocks, prune (and heal) a model, draw the curve."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

from pipelines.chat.entries import INSPECT_PREFIX
from pipelines.chat.pruning.blocks import check_count, guarded_blocks, least_important
from pipelines.chat.pruning.depth import drop_blocks
from pipelines.chat.pruning.evaluate import Effort, figures, outcome
from pipelines.chat.pruning.folder import MODELS, PruneFolder
from pipelines.chat.pruning.healing.running import Launch, heal
from pipelines.chat.pruning.model_files import load_model, publish, save_model, weights_bytes
from pipelines.chat.pruning.models import blocks_of, check_prunable
from pipelines.chat.pruning.requests import CurveRequest, PruneRequest, ScoreRequest
from pipelines.chat.pruning.scores import scores
from pipelines.chat.pruning.texts import calibration_batches
from pipelines.chat.pruning.width import counts_kept, keep_best, keep_structures, structure_scores
from pipelines.core.cache import ModelCache
from pipelines.core.devices import is_out_of_memory, out_of_memory
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.events import Progress, Result
from pipelines.core.messages import Message

Events = Iterator[Progress | Result]


def run(
    request: ScoreRequest | PruneRequest | CurveRequest,
    cache: ModelCache,
    stop: Event,
    models: Path | None = None,
    effort: Effort | None = None,
    launch: Launch | None = None,
) -> Events:
    """Does what the request asks; a leased model is never changed.

    ``Result.data`` has ``seconds`` and

    - of a :class:`ScoreRequest`: ``scores`` (one a block; the higher, the more important),
      ``guarded`` (blocks that never go), ``order`` (all others, the first to go first);
    - of a :class:`CurveRequest`: these, and ``points``, each with ``blocks`` and the fields of
      :class:`pipelines.chat.pruning.evaluate.Figures`;
    - of a :class:`PruneRequest`: ``folder`` (the new model's, by name), ``name``, ``before``,
      ``cut`` and, where it was healed, ``healed`` (figures with ``file_bytes``), ``after`` (the
      last of these), ``what`` (what was taken out), ``notes`` (messages).

    Args:
        models: where a pruned model is put as a folder; None: ``<home>/chat_models``.
        effort: how much is measured.
        launch: starts the healing process; None: under ``accelerate launch``.

    Raises:
        Stopped: ``stop`` was set; seen at every block, batch, window and token. A healing that is
            stopped leaves the model as far as it is healed.
        UserError: it cannot work; the sentence says why.
    """
    started = time.monotonic()
    try:
        if isinstance(request, PruneRequest):
            models = models or cache.home / MODELS
            data = yield from _prune(request, cache, stop, models, effort, launch)
        elif isinstance(request, CurveRequest):
            data = yield from _curve(request, cache, stop, effort)
        else:
            data = yield from _score(request, cache, stop)
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(error, cache.device, request.model) from error
        raise
    yield Result(data | {"seconds": round(time.monotonic() - started, 1)})


def _score(request: ScoreRequest, cache: ModelCache, stop: Event) -> Iterator[Progress]:
    yield from cache.warm(INSPECT_PREFIX + request.model, stop)
    with cache.lease(INSPECT_PREFIX + request.model) as leased:
        found = yield from _scores(request, leased, stop)
    return _about_scores(request, found)


def _scores(request: ScoreRequest, leased: Any, stop: Event) -> Iterator[Progress]:
    """Returns one score a block."""
    check_prunable(leased.model)
    batches = calibration_batches(leased.tokenizer)
    return (yield from outcome(scores(leased.model, batches, request.criterion, stop)))


def _about_scores(request: ScoreRequest, found: list[float]) -> dict[str, Any]:
    safe = guarded_blocks(len(found)) if request.guard else set()
    order = sorted((n for n in range(len(found)) if n not in safe), key=lambda n: (found[n], -n))
    return {
        "criterion": request.criterion,
        "scores": found,
        "guarded": sorted(safe),
        "order": order,
    }


def _curve(
    request: CurveRequest, cache: ModelCache, stop: Event, effort: Effort | None
) -> Iterator[Progress]:
    yield from cache.warm(INSPECT_PREFIX + request.model, stop)
    counts, points = sorted(set(request.blocks)), []
    with cache.lease(INSPECT_PREFIX + request.model) as leased:
        check_prunable(leased.model)
        for k in counts:
            check_count(k, len(blocks_of(leased.model)), request.guard)
        found = yield from _scores(request, leased, stop)
        for number, k in enumerate(counts):
            note = Message("Without {count} blocks: point {number} of {total}", count=k,
                           number=number + 1, total=len(counts))  # fmt: skip
            yield Progress(number, len(counts), note=note)
            model = drop_blocks(leased.model, least_important(found, k, request.guard))
            measured = yield from outcome(figures(model, leased.tokenizer, stop, effort))
            points.append({"blocks": k} | asdict(measured))
    return _about_scores(request, found) | {"points": points}


def _prune(
    request: PruneRequest,
    cache: ModelCache,
    stop: Event,
    models: Path,
    effort: Effort | None,
    launch: Launch | None,
) -> Iterator[Progress]:
    if request.method == "width" and request.criterion == "perplexity":
        raise BadRequest(
            "{criterion} scores whole blocks only. For heads and channels choose magnitude or "
            "taylor.",
            criterion=request.criterion,
        )
    folder = PruneFolder(cache.home, request.pruning)
    folder.begin(request)
    done = folder.known.get("published")
    if done and done["healed"] >= request.heal_minutes and (models / done["folder"]).is_dir():
        return _about(request, folder)
    if not folder.cut.is_dir():
        folder.remember(**(yield from _cut(request, cache, stop, effort, folder)))
    stopped = False
    if request.heal_minutes:
        folder.remember(healed=None)  # what an earlier, shorter healing has come to
        try:
            yield from heal(request, folder, cache, stop, launch)
        except Stopped:
            if not folder.healed.is_dir():
                raise
            stopped = True
        if not stopped:
            yield from _measure_healed(folder, cache, stop, effort)
    source = folder.healed if folder.healed.is_dir() else folder.cut
    yield Progress(0, 0, note=Message("Saving {name}", name=request.name))
    about = {
        "name": request.name,
        "owner": request.owner,
        "made_from": request.model,
        "pruning": request.pruning,
    } | _about(request, folder)
    path = publish(source, models, request.name, request.pruning, about)
    healed = 0.0 if stopped else request.heal_minutes
    folder.remember(published={"folder": path.name, "healed": healed})
    if stopped:
        raise Stopped
    folder.forget_work()
    return _about(request, folder)


def _cut(
    request: PruneRequest,
    cache: ModelCache,
    stop: Event,
    effort: Effort | None,
    folder: PruneFolder,
) -> Iterator[Progress]:
    """Scores, cuts, measures both and saves; returns what was done."""
    yield from cache.warm(INSPECT_PREFIX + request.model, stop)
    with cache.lease(INSPECT_PREFIX + request.model) as leased:
        model, tokenizer = leased.model, leased.tokenizer
        check_prunable(model)
        if request.method == "depth":
            check_count(request.blocks, len(blocks_of(model)), request.guard)
            found = (yield from _scores(request, leased, stop)) if request.blocks else None
            gone = least_important(found, request.blocks, request.guard) if found else []
            cut = drop_blocks(model, gone)
            what = {"dropped": gone, "scores": found}
        else:
            counts = counts_kept(model.config, request.share)
            batches = calibration_batches(tokenizer)
            found = yield from outcome(structure_scores(model, batches, request.criterion, stop))
            cut = keep_structures(model, keep_best(found, *counts))
            what = {
                "kv_heads": [model.config.num_key_value_heads, counts[0]],
                "channels": [model.config.intermediate_size, counts[1]],
            }
        before = yield from outcome(figures(model, tokenizer, stop, effort))
        after = yield from outcome(figures(cut, tokenizer, stop, effort))
        if stop.is_set():
            raise Stopped
        yield Progress(0, 0, note=Message("Saving {name}", name=request.name))
        save_model(cut, tokenizer, folder.cut)
    facts = {"method": request.method, "criterion": request.criterion, "guard": request.guard}
    return {
        "what": facts | what,
        "before": asdict(before) | {"file_bytes": before.bytes},
        "cut": asdict(after) | {"file_bytes": weights_bytes(folder.cut)},
    }


def _measure_healed(
    folder: PruneFolder, cache: ModelCache, stop: Event, effort: Effort | None
) -> Iterator[Progress]:
    yield Progress(0, 0, note=Message("Measuring the healed model"))
    model, tokenizer = load_model(folder.healed, cache.device)
    measured = yield from outcome(figures(model, tokenizer, stop, effort))
    folder.remember(healed=asdict(measured) | {"file_bytes": weights_bytes(folder.healed)})


def _about(request: PruneRequest, folder: PruneFolder) -> dict[str, Any]:
    """What is known of a pruning, as its result has it and ``atelier.json``."""
    known = folder.known
    parts = ("what", "before", "cut", "healed", "healing")
    data = {name: known[name] for name in parts if known.get(name) is not None}
    after = data["after"] = data.get("healed", known["cut"])
    before, notes = known["before"], []
    if after["parameters"] >= before["parameters"]:
        notes.append(Message("Nothing was taken out: it is as large as the original."))
    elif after["tokens_per_second"] <= before["tokens_per_second"]:
        notes.append(
            Message(
                "It is smaller, but not faster here: {before} tokens/s before, {after} now.",
                before=round(before["tokens_per_second"], 1),
                after=round(after["tokens_per_second"], 1),
            )
        )
    data["notes"] = [note.to_json() for note in notes]
    if "published" in known:
        data |= {"folder": known["published"]["folder"], "name": request.name}
    return data
