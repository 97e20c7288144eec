"""Looking into a language model: next-token odds, attention, what each layer would already say.

All of it works on a ``transformers`` model of the LLaMA family that others may be using at the same
time: neither the model nor its configuration is ever changed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipelines.chat.backends import tokens as pieces
from pipelines.chat.backends.tokens import Token
from pipelines.chat.requests import STARTER, Sampling
from pipelines.core.errors import BadRequest, Unavailable

if TYPE_CHECKING:
    import torch

MAX_TEXT = 50_000  # characters
MAX_TOKENS = 2_000
MAX_DEEP_TOKENS = 512  # for attention, whose maps grow with the square, and for every layer's state
MAX_LAYERS, MAX_HEADS = 1_000, 1_000
TOP = 20
LENS_TOP = 5
_LENS_ROWS = 256  # logits at a time, V numbers each
MEAN = 0  # in the place of a head's number


class InspectRequest(Sampling):
    """What is looked at: one place of one text. Counted from 1."""

    model: Annotated[
        str, Field(max_length=200, title="Model", description="Which one is opened.")
    ] = STARTER
    text: Annotated[
        str,
        Field(max_length=MAX_TEXT, title="Text", description="What the model reads."),
    ]
    read_specials: Annotated[
        bool,
        Field(
            title="Read special tokens",
            description="Tokens such as <|im_start|> count as what they are to the model; "
            "otherwise they are plain text.",
        ),
    ] = False
    position: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_TOKENS,
            title="Position",
            description="The token after which one looks. Empty: the last.",
        ),
    ] = None
    layer: Annotated[
        int, Field(ge=1, le=MAX_LAYERS, title="Block", description="Whose attention is shown.")
    ] = 1
    head: Annotated[
        int,
        Field(
            ge=MEAN, le=MAX_HEADS, title="Head", description="Of that block; 0 is the mean of all."
        ),
    ] = MEAN


@dataclass(frozen=True, eq=False)
class Text:
    """A text that a model has read once: all else follows from it.

    Attributes:
        tokens: T of them.
        last: (T, hidden): the model's final state, normed, on its device.
        states: (layers, T, hidden): what goes into each block, on the CPU; None for texts of more
            than :data:`MAX_DEEP_TOKENS`.
    """

    tokens: tuple[Token, ...]
    last: torch.Tensor
    states: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        return self.last.nbytes + (0 if self.states is None else self.states.nbytes)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that may come next.

    Attributes:
        id, bytes: which, and what it stands for.
        special: whether it is one of the model's own.
        before, after: its probability as the model gives it, and as it would be drawn with.
    """

    id: int
    bytes: bytes
    special: bool
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class NextToken:
    """The odds of one place.

    Attributes:
        candidates: the likeliest, by the model's own probability.
        possible: how many tokens can be drawn at all.
        vocabulary: how many there are.
        entropy_before, entropy_after: of the two distributions, in bits.
    """

    candidates: tuple[Candidate, ...]
    possible: int
    vocabulary: int
    entropy_before: float
    entropy_after: float


@dataclass(frozen=True, slots=True)
class Guess:
    """A token that a layer would say next."""

    id: int
    bytes: bytes
    probability: float


@dataclass(frozen=True, slots=True)
class Lens:
    """What each layer would already say (logit lens, nostalgebraist 2020).

    Attributes:
        first: the token after which the first column looks, counted from 0.
        rows: from the embedding (before any block) to the model's own output; of each, for each
            position, the likeliest tokens.
    """

    first: int
    rows: tuple[tuple[tuple[Guess, ...], ...], ...]


def check(model: Any, title: str) -> None:
    """Whether a model is built as this module expects.

    Raises:
        Unavailable: it is not.
    """
    decoder, config = model.get_decoder(), model.config
    parts = all(hasattr(decoder, name) for name in ("layers", "norm", "rotary_emb"))
    # What these families do to the logits after the head.
    further = ("final_logit_softcapping", "logits_scaling", "logit_scale")
    if not parts or any(getattr(config, name, None) is not None for name in further):
        raise Unavailable(
            "{model} is of the kind {kind}, which is built otherwise than LLaMA. Choose a model "
            "of the LLaMA family to look inside.",
            model=title,
            kind=config.model_type,
        )


def read(model: Any, tokenizer: Any, text: str, read_specials: bool = False) -> Text:
    """One forward pass over ``text``.

    Args:
        read_specials: as for :func:`pipelines.chat.backends.tokens.cut`.

    Raises:
        BadRequest: there is no token, or there are too many.
    """
    import torch

    tokens = pieces.cut(tokenizer, text, read_specials)
    if not tokens:
        raise BadRequest("There is no text to look at. Type one.")
    limit = min(MAX_TOKENS, model.config.max_position_embeddings)
    if len(tokens) > limit:
        raise BadRequest(
            "The text has {tokens} tokens; at most {limit} are read here. Shorten it.",
            tokens=len(tokens),
            limit=limit,
        )
    deep = len(tokens) <= MAX_DEEP_TOKENS
    with torch.inference_mode():
        ids = torch.tensor([[token.id for token in tokens]], device=model.device)  # (1, T)
        out = model.get_decoder()(input_ids=ids, use_cache=False, output_hidden_states=deep)
        states = None
        if deep:
            # Of L + 1 the last one is the final state again, normed already.
            states = torch.cat(out.hidden_states[:-1]).cpu()  # (L, T, hidden)
        return Text(tuple(tokens), out.last_hidden_state[0], states)


def next_token(model: Any, text: Text, position: int | None) -> torch.Tensor:
    """Logits (V,) after the token ``position``, counted from 1; None: the last. float32, CPU.

    Raises:
        BadRequest: the text has fewer tokens.
    """
    import torch

    at = _position(text, position)
    with torch.inference_mode():
        return model.get_output_embeddings()(text.last[at : at + 1])[0].float().cpu()


def odds(
    tokenizer: Any,
    logits: torch.Tensor,
    sampling: Sampling,
    previous_ids: Sequence[int] = (),
    top: int = TOP,
) -> NextToken:
    """What ``sampling`` makes of the logits (V,) of :func:`next_token`."""
    from pipelines.chat.sampling import reshape

    before = logits.float().softmax(0)
    after = reshape(logits, sampling, previous_ids)
    # A repetition penalty may make others the likeliest: whoever leads in either is shown.
    leading = before.maximum(after).topk(min(top, len(before))).indices
    ids = leading[before[leading].argsort(descending=True, stable=True)].tolist()
    names = pieces.bytes_of(tokenizer, ids)
    specials = set(tokenizer.convert_tokens_to_ids(sorted(pieces.special_tokens(tokenizer))))
    candidates = tuple(
        Candidate(id, name, id in specials, float(before[id]), float(after[id]))
        for id, name in zip(ids, names, strict=True)
    )
    return NextToken(candidates, int((after > 0).sum()), len(before), _bits(before), _bits(after))


def attention(model: Any, text: Text, layer: int) -> torch.Tensor:
    """How much each token looks at each earlier one in block ``layer``, counted from 1.

    Returns:
        (heads, T, T) float32 on the CPU; rows look, columns are looked at; each row sums to 1.

    Raises:
        BadRequest: there is no such block, or the text is too long.
        Unavailable: the model's attention does not tell.
    """
    import torch

    decoder = model.get_decoder()
    if not 1 <= layer <= len(decoder.layers):
        raise BadRequest(
            "There is no block {number}; the model has {count}.",
            number=layer,
            count=len(decoder.layers),
        )
    states, block = _states(text), decoder.layers[layer - 1]
    # The fused kernels do not tell the weights; eager attention does. It is switched on in a copy
    # that shares the weights, for the block may be answering somebody else at this moment.
    attending = copy.copy(block.self_attn)
    attending.config = copy.copy(block.self_attn.config)
    attending.config._attn_implementation = "eager"
    with torch.inference_mode():
        state = states[layer - 1].to(model.device)[None]  # (1, T, hidden)
        count = state.shape[1]
        places = torch.arange(count, device=model.device)[None]
        future = torch.full((count, count), torch.finfo(state.dtype).min, device=model.device)
        _, weights = attending(
            hidden_states=block.input_layernorm(state),
            position_embeddings=decoder.rotary_emb(state, position_ids=places),
            attention_mask=future.triu(1).to(state.dtype)[None, None],
            past_key_values=None,
        )
    if weights is None:
        raise Unavailable(
            "The attention of this kind of model ({kind}) cannot be shown.",
            kind=model.config.model_type,
        )
    return weights[0].float().cpu()


def one_head(weights: torch.Tensor, head: int) -> torch.Tensor:
    """(T, T) of the head with this number, counted from 1, or the mean of all for :data:`MEAN`.

    Raises:
        BadRequest: there is no such head.
    """
    if head == MEAN:
        return weights.mean(0)
    if not 1 <= head <= len(weights):
        raise BadRequest(
            "There is no head {number}; the block has {count}.", number=head, count=len(weights)
        )
    return weights[head - 1]


def logit_lens(
    model: Any, tokenizer: Any, text: Text, first: int = 0, last: int | None = None
) -> Lens:
    """The final norm and the head on every layer's state, after the tokens ``first`` to ``last``.

    Args:
        first, last: counted from 0, ``last`` not included, as slices are.

    Raises:
        BadRequest: the text is too long.
    """
    import torch

    norm, head = model.get_decoder().norm, model.get_output_embeddings()
    rows = []
    with torch.inference_mode():
        kept = _states(text)[:, first:last].to(model.device)  # (L, n, hidden)
        # Several layers at a time: the head's weights are read from memory once for all of them.
        groups = kept.split(max(1, _LENS_ROWS // kept.shape[1]))
        for states in (*map(norm, groups), text.last[None, first:last]):
            best = head(states).float().softmax(-1).topk(LENS_TOP)  # (layers, n, 5)
            rows += zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ids = sorted({id for found, _ in rows for each in found for id in each})
    names = dict(zip(ids, pieces.bytes_of(tokenizer, ids), strict=True))
    return Lens(
        first,
        tuple(
            tuple(
                tuple(Guess(id, names[id], odds) for id, odds in zip(*place, strict=True))
                for place in zip(*row, strict=True)
            )
            for row in rows
        ),
    )


def _position(text: Text, position: int | None) -> int:
    """Index of the token after which one looks."""
    count = len(text.tokens)
    if position is not None and position > count:
        raise BadRequest(
            "There is no token {number}; the text has {count}.", number=position, count=count
        )
    return (position or count) - 1


def _states(text: Text) -> torch.Tensor:
    if text.states is None:
        raise BadRequest(
            "The text has {tokens} tokens; attention and layers are shown for at most {limit}. "
            "Shorten it.",
            tokens=len(text.tokens),
            limit=MAX_DEEP_TOKENS,
        )
    return text.states


def _bits(odds: torch.Tensor) -> float:
    import torch

    return float(torch.special.entr(odds).sum() / torch.tensor(2.0).log())
