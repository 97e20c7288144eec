"""The starter's tokenizer, and its text encoder, which first learns to read.

The text encoder is trained on captions alone to say which scene they describe: place, toys,
colours, which is on which side. That takes minutes, needs no picture, and gives the UNet word
vectors in which "the blue one is on the left" is already spelt out. It stays fixed afterwards.
"""

from __future__ import annotations

import json
import pydoc_data.topics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pipelines.toybox.captions import caption
from pipelines.toybox.scenes import Scene, training_scene
from pipelines.toybox.train.run import Run, autocast
from pipelines.toybox.vocabulary import (
    COLOURS,
    FINISHES,
    KINDS,
    PLACES,
    RELATIONS,
    SIZES,
    TRAINED,
)

VOCABULARY = 2600
CORPUS = 20_000  # captions that the tokenizer is made from
EXAM = 1000  # captions on which the text encoder is examined
_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""  # as CLIP splits


def make_tokenizer(folder: Path, kinds: Sequence[str] = TRAINED) -> CLIPTokenizer:
    """A CLIP tokenizer: byte-level BPE, so that any text encodes, trained on captions and English.

    The English comes from the manual that Python carries (``pydoc_data``), so that the same
    Python makes the same tokenizer.
    """
    text = [caption(training_scene(i, kinds), i) for i in range(CORPUS)]
    text += [topic for topic in pydoc_data.topics.topics.values()]
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(
        text,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - 2, end_of_word_suffix="</w>", initial_alphabet=alphabet
        ),
    )
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    # As CLIP's: bytes, bytes that end a word, merges in order, the two special tokens.
    tokens = alphabet + [letter + "</w>" for letter in alphabet]
    tokens += [a + b for a, b in merges if a + b not in set(tokens)]
    tokens = [*list(dict.fromkeys(tokens)), _START, _END]
    tokenizer = CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=merges,
        model_max_length=77,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained CLIP text model of 192 channels and 4 layers."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            projection_dim=192,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


_KIND_NAMES, _COLOUR_NAMES = list(KINDS), list(COLOURS)
_FINISH_NAMES, _SIZE_NAMES = list(FINISHES), list(SIZES)
_ANSWERS: dict[str, int] = {  # question → number of answers; a missing toy is the last answer
    "place": len(PLACES),
    "relation": len(RELATIONS) + 1,
} | {
    f"{side} {what}": count + 1
    for side in ("first", "second", "third")  # from left to right
    for what, count in (
        ("kind", len(KINDS)),
        ("colour", len(COLOURS)),
        ("finish", len(FINISHES)),
        ("size", len(SIZES)),
    )
}


class Reader(nn.Module):
    """Linear answers from one token's hidden state: what must be spelt out in it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.answers = nn.Linear(width, sum(_ANSWERS.values()))
        self.pairs = nn.Linear(width, len(KINDS) * len(COLOURS))

    def loss(
        self, hidden: torch.Tensor, targets: torch.Tensor, pairs: torch.Tensor
    ) -> torch.Tensor:
        """``hidden`` (B, width), ``targets`` (B, questions) int64, ``pairs`` (B, kinds·colours)."""
        logits = self.answers(hidden).split(list(_ANSWERS.values()), dim=1)
        loss = sum(F.cross_entropy(x, targets[:, i]) for i, x in enumerate(logits)) / len(logits)
        return loss + 8 * F.binary_cross_entropy_with_logits(self.pairs(hidden), pairs)

    @torch.no_grad()
    def accuracy(self, hidden: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        logits = self.answers(hidden).split(list(_ANSWERS.values()), dim=1)
        return {
            name: round((x.argmax(1) == targets[:, i]).float().mean().item(), 3)
            for i, (name, x) in enumerate(zip(_ANSWERS, logits, strict=True))
        }


def _targets(scene: Scene) -> tuple[list[int], list[int]]:
    """Answers to the questions, and the indices of the (kind, colour) pairs."""
    things = sorted(scene.things, key=lambda thing: thing.x)
    relation = list(RELATIONS).index(scene.relation) if scene.relation else len(RELATIONS)
    if scene.relation and scene.things[0].x > scene.things[1].x:  # asked of the left toy
        relation = {0: 1, 1: 0, 2: 3, 3: 2}.get(relation, relation)
    answers = [list(PLACES).index(scene.place), relation]
    for thing in [*things, None, None][:3]:
        if thing is None:
            answers += [len(KINDS), len(COLOURS), len(FINISHES), len(SIZES)]
        else:
            answers += [
                _KIND_NAMES.index(thing.kind),
                _COLOUR_NAMES.index(thing.colour),
                _FINISH_NAMES.index(thing.finish),
                _SIZE_NAMES.index(thing.size),
            ]
    pairs = [
        _KIND_NAMES.index(t.kind) * len(COLOURS) + _COLOUR_NAMES.index(t.colour) for t in things
    ]
    return answers, pairs


def _batch(tokenizer, seeds: Sequence[int], kinds: Sequence[str], plain: bool = False):
    """Token ids (B, T), targets (B, questions), pairs (B, kinds·colours) of fresh scenes."""
    scenes = [training_scene(seed, kinds) for seed in seeds]
    answers, pairs = zip(*(_targets(scene) for scene in scenes), strict=True)
    multi = torch.zeros(len(scenes), len(KINDS) * len(COLOURS))
    for row, indices in enumerate(pairs):
        multi[row, indices] = 1
    words = [caption(scene, seed, plain) for scene, seed in zip(scenes, seeds, strict=True)]
    longest = max(len(ids) for ids in tokenizer(words).input_ids)
    # Mostly just long enough, now and then the full 77, so that every position is trained.
    length = 77 if seeds[0] % 5 == 0 else min(77, longest + int(seeds[0] % 8))
    ids = tokenizer(
        words, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids, torch.tensor(answers), multi


def train(run: Run, tokenizer, minutes: float, kinds: Sequence[str] = TRAINED) -> Iterator[dict]:
    """Trains the text encoder for ``minutes`` more; yields a log line now and then."""
    model = make_text_encoder(tokenizer).to(run.device).train()
    reader = Reader(model.config.hidden_size).to(run.device)
    parameters = [*model.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    run.load(model=model, reader=reader, optimizer=optimizer)
    start, batch = time.time(), 96
    end = start + 60 * minutes
    while time.time() < end:
        share = (time.time() - start) / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = 1.2e-3 * (1 - 0.95 * share) * min(1.0, (run.samples + 1) / 10_000)
        seeds = range(5_000_000 + run.samples, 5_000_000 + run.samples + batch)
        ids, targets, pairs = (x.to(run.device) for x in _batch(tokenizer, seeds, kinds))
        with autocast(run.device):
            hidden = model(ids).last_hidden_state
        # The end token and, equally, one of the padding tokens behind it.
        stop = (ids == tokenizer.eos_token_id).int().argmax(1)
        behind = stop + (torch.rand(len(stop), device=stop.device) * (ids.shape[1] - stop)).long()
        rows = torch.arange(len(ids), device=ids.device)
        loss = reader.loss(hidden[rows, stop].float(), targets, pairs)
        loss = loss + reader.loss(hidden[rows, behind].float(), targets, pairs)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        run.samples += batch
        if run.samples % (batch * 100) == 0:
            yield run.log(loss=loss.item())
    model.eval()
    ids, targets, _ = _batch(tokenizer, range(EXAM), kinds, plain=True)
    with torch.no_grad():
        hidden = model(ids.to(run.device)).last_hidden_state.float().cpu()
    stop = (ids == tokenizer.eos_token_id).int().argmax(1)
    accuracy = reader.cpu().accuracy(hidden[torch.arange(len(ids)), stop], targets)
    run.save(model=model, reader=reader.to(run.device), optimizer=optimizer)
    yield run.log(plain_captions=accuracy)


def save(run: Run, tokenizer, folder: Path) -> None:
    """Writes tokenizer and text encoder as diffusers folders, fp16."""
    model = make_text_encoder(tokenizer)
    run.load(model=model)
    model.half().save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
