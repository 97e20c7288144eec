"""Prompts as A1111 reads them, to the text embeddings that the UNet attends to.

``(a)`` weighs ×1.1, ``[a]`` ÷1.1, ``(a:1.3)`` ×1.3, nested ones multiply; ``\\(`` is a parenthesis;
``BREAK`` begins a new chunk. Brackets that say several things in turn, ``[a:b:.5]``, are resolved
before, by :mod:`pipelines.diffusion.wording.editing`. A chunk is what the text encoder reads at
once (75 tokens for CLIP, between its start and end tokens); longer prompts are read in chunks whose
embeddings are laid end to end. A chunk that is full ends at its last comma, if that is among its
last 20 tokens.

Why not the library compel: it has a syntax of its own, ``(a)1.3`` and ``a++``, has no ``[a]``, no
``(a:1.3)`` and no ``BREAK``, and blends with the empty prompt where A1111 scales. Prompts and
pictures that people bring along would paint something else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import BadRequest

if TYPE_CHECKING:
    import torch

MAX_WEIGHT = 10.0
_BRACKET = 1.1
_BACKTRACK = 20  # tokens behind a comma that go to the next chunk: A1111's setting of this name

_TOKEN = re.compile(
    r"""
    # \( \) \[ \] \\, and of dynamic prompts \{ \} \| \__ \${
    \\(?P<escaped>[\\()\[\]{}|]|_(?=_)|\$(?=\{))
    | :\s*+(?P<weight>[+-]?(?:\d++(?:\.\d*+)?+|\.\d++))\s*+\)   # :1.3)
    | (?P<sign>[()\[\]])
    | (?P<text>[^\\()\[\]:]++|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BREAK = re.compile(r"\bBREAK\b")
_LEARNED = re.compile(r"atelier([0-9a-f]{12})n\d+w")  # see learned_tokens


@dataclass(frozen=True, slots=True)
class Fragment:
    """A stretch of prompt with one weight."""

    text: str
    weight: float = 1.0


@dataclass
class _Group:
    """What stands between two brackets; ``opener`` is "" for the whole prompt."""

    opener: str
    children: list[str | _Group] = field(default_factory=list)
    weight: float = 1.0


def parse(prompt: str) -> list[list[Fragment]]:
    """Split a prompt into parts at ``BREAK``, each a list of fragments; equal neighbours are one.

    A ``BREAK`` at the end begins nothing. Brackets that nothing closes hold until the end, as in
    A1111; closing ones that nothing opened are plain text.

    Raises:
        BadRequest: a weight beyond ±10.

    >>> parse("a (red:1.3) mug BREAK [snow]")  # doctest: +ELLIPSIS
    [[Fragment(text='a ', weight=1.0), ..., Fragment(text=' mug', weight=1.0)], [Fragment(...)]]
    """
    parts: list[list[Fragment]] = [[]]
    for fragment in _fragments(prompt):
        texts = _BREAK.split(fragment.text)
        last = len(texts) - 1
        for number, text in enumerate(texts):
            # The blanks beside BREAK belong to it.
            text = text.lstrip() if number else text
            text = text.rstrip() if number < last else text
            if number:
                parts.append([])
            _append(parts[-1], text, fragment.weight)
    return parts if parts[-1] or len(parts) == 1 else parts[:-1]


def is_weighted(prompt: str) -> bool:
    """Whether a prompt has weights or ``BREAK``, which only the UNet families read."""
    parts = parse(prompt)
    return len(parts) > 1 or any(fragment.weight != 1 for fragment in parts[0])


@dataclass(frozen=True)
class PromptEmbeds:
    """What the UNet needs of prompts and their negatives.

    Attributes:
        prompt: (1 or B, chunks · length, width); one row stands for all pictures.
        negative: the same shape, but for the rows.
        pooled: SDXL: (1 or B, width of the pooled embedding), else None.
        negative_pooled: the same shape, or None.
    """

    prompt: torch.Tensor
    negative: torch.Tensor
    pooled: torch.Tensor | None = None
    negative_pooled: torch.Tensor | None = None


def encode(
    pipe: Any, prompt: str, negative_prompt: str, clip_skip: int, device: str
) -> PromptEmbeds:
    """Encode a prompt and its negative with the text encoders of a Stable Diffusion pipeline.

    With all weights 1 and a prompt that fits, the result equals ``pipe.encode_prompt`` bit for bit.
    One thing differs: clip skip is applied to the negative prompt too, as in A1111.

    Args:
        pipe: a StableDiffusionPipeline or StableDiffusionXLPipeline.
        clip_skip: 1 reads the last layer, 2 the one before it (diffusers calls that 1).
        device: where the text encoders compute.

    Raises:
        BadRequest: a weight or the clip skip is beyond its limit.
    """
    return encode_steps(pipe, [[(prompt, negative_prompt)]], clip_skip, device)[0]


def encode_steps(
    pipe: Any, steps: Sequence[Sequence[tuple[str, str]]], clip_skip: int, device: str
) -> list[PromptEmbeds]:
    """Encode a prompt and its negative for each picture at each step.

    All have as many chunks as the longest, so that no step has embeddings of another shape. Where
    every picture has the same prompts, one row is given. It computes and raises as :func:`encode`.
    """
    work = encoding_steps(pipe, steps, clip_skip, device)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def encoding_steps(
    pipe: Any, steps: Sequence[Sequence[tuple[str, str]]], clip_skip: int, device: str
) -> Generator[None, None, list[PromptEmbeds]]:
    """:func:`encode_steps`, which yields after each chunk: a prompt that says something else at
    each of many steps has thousands, and whoever iterates can stop."""
    import torch

    encoders = _encoders(pipe, clip_skip, device)
    texts = dict.fromkeys(text for pairs in steps for pair in pairs for text in pair)
    # Prompts and negatives are attended to in one batch, both encoders' widths side by side.
    chunks = {text: [encoder.chunks(parse(text)) for encoder in encoders] for text in texts}
    count = max(len(some) for each in chunks.values() for some in each)
    encoded = {}
    for text, each in chunks.items():
        sides = []
        for encoder, some in zip(encoders, each, strict=True):
            sides.append((yield from encoder.encode(some, count)))
        encoded[text] = (torch.cat([embeds for embeds, _ in sides], dim=-1), sides[-1][1])
    wanted = dict(encoded)
    if pipe.config.get("force_zeros_for_empty_prompt") and "" in encoded:
        zeros = [part if part is None else torch.zeros_like(part) for part in encoded[""]]
        encoded[""] = tuple(zeros)
    made: dict[tuple[tuple[str, str], ...], PromptEmbeds] = {}
    for pairs in map(tuple, steps):
        if pairs not in made:
            embeds, pooled = _stack([wanted[prompt] for prompt, _ in pairs])
            negative, negative_pooled = _stack([encoded[negative] for _, negative in pairs])
            made[pairs] = PromptEmbeds(embeds, negative, pooled, negative_pooled)
    return [made[tuple(pairs)] for pairs in steps]


def count_chunks(pipe: Any, texts: Sequence[str]) -> int:
    """How many chunks the longest of some prompts has."""
    encoders = _encoders(pipe, 1, "cpu")
    return max(len(encoder.chunks(parse(text))) for encoder in encoders for text in texts)


def _stack(rows: Sequence[tuple[torch.Tensor, torch.Tensor | None]]) -> list[torch.Tensor | None]:
    """The embeddings of several prompts as rows, and their pooled ones; equal ones as one row."""
    import torch

    if all(row is rows[0] for row in rows):
        return list(rows[0])
    return [None if parts[0] is None else torch.cat(parts) for parts in zip(*rows, strict=True)]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Token ids without start and end, and a weight for each."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class _TextEncoder:
    """One tokenizer with its text encoder.

    Attributes:
        layer: index into the hidden states, or None for the last layer's normed output.
        final_norm: applied to a hidden state that is read early (SD 1.x), or None (SDXL).
    """

    tokenizer: Any
    model: Any
    convert: Any
    device: str
    layer: int | None
    final_norm: Any | None
    _known: dict[Any, tuple[torch.Tensor, torch.Tensor | None]] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Tokens of one chunk, start and end included."""
        return min(self.tokenizer.model_max_length, self.model.config.max_position_embeddings)

    def chunks(self, parts: list[list[Fragment]]) -> list[Chunk]:
        """Token ids in chunks that fit; each part begins a new one."""
        comma = self.tokenizer(",", add_special_tokens=False).input_ids[-1]
        words = _learned_ids(self.tokenizer)
        chunks = []
        for part in parts:
            tokens: list[tuple[int, float]] = []
            for fragment in part:
                text = self.convert(fragment.text, self.tokenizer)
                new = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
                tokens += [(id, fragment.weight) for id in new]
            chunks += split_tokens(tokens, self.length - 2, comma, words)
        return chunks

    def encode(
        self, chunks: list[Chunk], count: int
    ) -> Generator[None, None, tuple[torch.Tensor, torch.Tensor | None]]:
        """(1, count · length, width), and the pooled embedding of the first chunk if there is one.

        Missing chunks are empty ones. They are encoded one by one: in a batch the last bits of a
        chunk would depend on how many there are. Equal ones are encoded once. Yields after each.
        """
        import torch

        padded = chunks + [Chunk([], [])] * (count - len(chunks))
        encoded = []
        for chunk in padded:
            key = (tuple(chunk.ids), tuple(chunk.weights))
            if key not in self._known:
                self._known[key] = self._encode(chunk)
                yield
            encoded.append(self._known[key])
        return torch.cat([embeds for embeds, _ in encoded], dim=1), encoded[0][1]

    def _encode(self, chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor | None]:
        import torch

        tokenizer, length = self.tokenizer, self.length
        padding = length - len(chunk.ids) - 2
        ids = [tokenizer.bos_token_id, *chunk.ids, tokenizer.eos_token_id]
        ids += [tokenizer.pad_token_id] * padding
        mask = None
        if getattr(self.model.config, "use_attention_mask", False):
            mask = torch.tensor([[1] * (length - padding) + [0] * padding], device=self.device)
        with torch.no_grad():
            output = self.model(
                torch.tensor([ids], device=self.device),
                attention_mask=mask,
                output_hidden_states=self.layer is not None,
            )
        pooled = output[0] if output[0].ndim == 2 else None
        # (1, length, width)
        embeds = output[0] if self.layer is None else output.hidden_states[self.layer]
        if self.final_norm is not None:
            with torch.no_grad():
                embeds = self.final_norm(embeds)
        return _weigh(embeds, [1.0, *chunk.weights, *[1.0] * (padding + 1)]), pooled


def split_tokens(
    tokens: Sequence[tuple[int, float]], room: int, comma: int, words: Mapping[int, int]
) -> list[Chunk]:
    """Tokens in chunks as A1111 fills them (``tokenize_line`` of its ``sd_hijack_clip.py``).

    A full chunk that has a comma among its last 20 tokens ends there, and what stands behind the
    comma begins the next chunk. A learned word is never divided.

    Args:
        tokens: id and weight of each.
        room: tokens of one chunk.
        comma: id of the comma.
        words: first id of each learned word → how many tokens it is.
    """
    chunks: list[list[tuple[int, float]]] = [[]]
    last_comma: int | None = None  # its place in the newest chunk
    at = 0
    while at < len(tokens):
        id, newest = tokens[at][0], chunks[-1]
        count = min(words.get(id, 1), room)
        if len(newest) == room:
            moved = []
            near = last_comma is not None and room - last_comma <= _BACKTRACK
            if near and id != comma:
                moved = newest[last_comma + 1 :]
                del newest[last_comma + 1 :]
            chunks.append(moved)
            last_comma = None
        elif id == comma:
            last_comma = len(newest)
        if len(chunks[-1]) + count > room:
            chunks.append([])
            last_comma = None
        chunks[-1] += tokens[at : at + count]
        at += count
    return [Chunk([id for id, _ in each], [weight for _, weight in each]) for each in chunks]


def learned_tokens(id: str, count: int) -> list[str]:
    """What a tokenizer calls a learned word of ``count`` vectors: tokens that nobody types."""
    return [f"atelier{id[:12]}n{number}w" for number in range(count)]


def _learned_ids(tokenizer: Any) -> dict[int, int]:
    """First token id of each learned word → how many tokens it is."""
    words: dict[str, list[int]] = {}
    for token, id in tokenizer.get_added_vocab().items():
        if match := _LEARNED.fullmatch(token):
            words.setdefault(match[1], []).append(id)
    return {min(ids): len(ids) for ids in words.values()}


def _weigh(embeds: torch.Tensor, weights: list[float]) -> torch.Tensor:
    """Scale each token's embedding by its weight and bring the chunk back to its old magnitude.

    A1111 restores the chunk's signed mean. That mean is next to nothing for encoders whose last
    layer norm centres it, and the picture then explodes or turns negative; the mean of the absolute
    values does what is meant and cannot.
    """
    if all(weight == 1 for weight in weights):
        return embeds
    factors = embeds.new_tensor(weights)[None, :, None]  # (1, length, 1)
    weighed = embeds * factors
    return weighed * (embeds.abs().mean() / weighed.abs().mean())


def _encoders(pipe: Any, clip_skip: int, device: str) -> list[_TextEncoder]:
    """The pipeline's encoders: one for SD 1.x and 2.x, two for SDXL, which reads earlier."""
    two = getattr(pipe, "text_encoder_2", None) is not None
    pairs = [(pipe.tokenizer, pipe.text_encoder)]
    if two:
        pairs.append((pipe.tokenizer_2, pipe.text_encoder_2))
    encoders = []
    for tokenizer, model in pairs:
        layers = model.config.num_hidden_layers
        if clip_skip > layers - two:
            raise BadRequest(
                "Clip skip is {value}; the text encoder of this model allows at most {limit}.",
                value=clip_skip,
                limit=layers - two,
            )
        if two:
            layer, norm = -(clip_skip + 1), None
        elif clip_skip == 1:
            layer, norm = None, None
        else:
            layer, norm = -clip_skip, _final_layer_norm(model)
        encoders.append(
            _TextEncoder(tokenizer, model, pipe.maybe_convert_prompt, device, layer, norm)
        )
    return encoders


def _final_layer_norm(text_encoder: Any) -> Any:
    return getattr(text_encoder, "text_model", text_encoder).final_layer_norm


def _fragments(prompt: str) -> list[Fragment]:
    """The prompt's fragments in order, brackets resolved into weights."""
    stack = [_Group("")]
    for token in _TOKEN.finditer(prompt):
        if token["escaped"] is not None:
            stack[-1].children.append(token["escaped"])
        elif token["text"] is not None:
            stack[-1].children.append(token["text"])
        elif token["weight"] is not None and stack[-1].opener == "(":
            stack.pop().weight = float(token["weight"])
        elif token["sign"] in ("(", "["):
            group = _Group(token["sign"], weight=_BRACKET if token["sign"] == "(" else 1 / _BRACKET)
            stack[-1].children.append(group)
            stack.append(group)
        elif (token["sign"], stack[-1].opener) in ((")", "("), ("]", "[")):
            stack.pop()
        else:
            stack[-1].children.append(token[0])
    return _flatten(stack[0])


def _flatten(root: _Group) -> list[Fragment]:
    """Depth first, without recursion: a prompt may nest ten thousand brackets."""
    fragments: list[Fragment] = []
    pending: list[tuple[str | _Group, float]] = [(root, 1.0)]
    while pending:
        node, weight = pending.pop()
        if isinstance(node, str):
            _append(fragments, node, weight)
        else:
            weight *= node.weight
            if not abs(weight) <= MAX_WEIGHT:
                raise BadRequest(
                    "A prompt weight is {value}; it must lie between −{limit} and {limit}.",
                    value=round(weight, 2) if math.isfinite(weight) else str(weight),
                    limit=MAX_WEIGHT,
                )
            pending.extend((child, weight) for child in reversed(node.children))
    return fragments


def _append(fragments: list[Fragment], text: str, weight: float) -> None:
    """Append, or lengthen the last one if the weights are equal (1.1 · (1/1.1) counts as 1)."""
    weight = 1.0 if math.isclose(weight, 1.0, rel_tol=1e-9) else weight
    if not text:
        return
    if fragments and fragments[-1].weight == weight:
        fragments[-1] = Fragment(fragments[-1].text + text, weight)
    else:
        fragments.append(Fragment(text, weight))
