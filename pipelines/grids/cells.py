"""From axes to cells: what each picture of a grid is made with, checked before any is painted."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest, UserError, validate
from pipelines.core.messages import Message
from pipelines.diffusion.lora.tags import with_ids
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.requests import MAX_PROMPT, TextToImageRequest
from pipelines.grids.values import read_numbers, read_texts

MAX_CELLS = 200
MAX_TOKENS = 5  # whose orders are tried: 120
PROMPT, ORDER, SIZE = "prompt", "prompt_order", "size"
_PART = re.compile(r"([a-z_]+)(?:\[(\d)\])?")
_SIZE = re.compile(r"\s*(\d{1,5})\s*[x×X*]\s*(\d{1,5})\s*")
_REASONS = 3  # that are told of cells that cannot be painted

NAMES = {
    "model": "Checkpoint name",
    "loras[0].weight": "LoRA weight",
    PROMPT: "Prompt S/R",
    ORDER: "Prompt order",
    "negative_prompt": "Negative prompt",
    "style": "Styles",
    "clip_skip": "Clip skip",
    SIZE: "Size",
    "steps": "Steps",
    "sampler": "Sampler",
    "schedule": "Schedule type",
    "guidance": "CFG Scale",
    "seed": "Seed",
    "from_picture.strength": "Denoising",
    "from_picture.noise_multiplier": "Initial noise multiplier",
    "from_picture.extra_noise": "Extra noise",
    "variation.strength": "Var. strength",
    "variation.seed": "Var. seed",
    "eta": "Eta",
}
"""What the page offers as an axis, and what it is called in a picture's settings, as A1111 does."""
# What takes longest to change comes first; the rest takes no time.
_COSTLIEST = ("model", "loras", "prompt", "style", "clip_skip", "size")


class Axis(StrictModel):
    """One setting and its values."""

    field: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100,
            title="Setting",
            description="A setting by its name in a request, such as steps, model, "
            "loras[0].weight or from_picture.strength; or prompt (the first value is replaced by "
            "each), prompt_order, size.",
        ),
    ]
    values: Annotated[
        str,
        Field(
            max_length=10_000,
            title="Values",
            description="With commas between them, those that have commas in quotes. Numbers also "
            "as 1-5, 1-9 (+2) or 1-10 [4].",
        ),
    ]


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a grid.

    Attributes:
        place: its numbers along X, Y and Z; 0 along axes that there are not.
        values: what its axes say, in words, X first.
        request: what it is made with.
    """

    place: tuple[int, int, int]
    values: tuple[str, ...]
    request: TextToImageRequest

    @property
    def name(self) -> str:
        """What it is called in sentences."""
        return ", ".join(self.values)


@dataclass(frozen=True, slots=True)
class _Read:
    """An axis with its values as the setting takes them."""

    field: str
    values: tuple[Any, ...]

    def format_value(self, number: int) -> str:
        value = self.values[number]
        if self.field == PROMPT:
            return value[1]
        if isinstance(value, tuple):
            return (", " if self.field == ORDER else "×").join(map(str, value))
        return f"{value:g}" if isinstance(value, float) else str(value)


def plan(
    base: TextToImageRequest,
    axes: Sequence[Axis],
    loras: Sequence[LoraUse] = (),
    models: Mapping[str, str] = MappingProxyType({}),
) -> list[Cell]:
    """The cells in the order in which they are painted: what is costly to change, seldom.

    Args:
        base: all that the axes leave as it is; one picture of it is a cell.
        axes: X, Y and Z, as many as there are.
        loras: with their ids, those that cells name.
        models: names of models as they are written → as the catalog has them.

    Raises:
        BadRequest: an axis cannot be read, there are too many cells, or some cannot be painted;
            names them and says why.
    """
    read = read_axes(base, axes)
    count = math.prod(len(axis.values) for axis in read)
    if count > MAX_CELLS:
        raise BadRequest(
            "The grid has {count} cells; at most {limit} are painted. Take fewer values.",
            count=count,
            limit=MAX_CELLS,
        )
    order = sorted(range(len(read)), key=lambda at: (_cost(read[at].field), -at))
    fields = base.model_dump() | {"batch_count": 1, "batch_size": 1}
    cells: list[Cell] = []
    reasons: dict[str, Message] = {}
    for numbers in itertools.product(*(range(len(read[at].values)) for at in order)):
        place = dict(zip(order, numbers, strict=True))
        values = tuple(
            f"{label_of(axis.field)}: {axis.format_value(place[at])}"
            for at, axis in enumerate(read)
        )
        try:
            data = fields
            for at, axis in enumerate(read):
                data = _change(data, axis, place[at])
            cell = with_ids(validate(type(base), data), loras)
        except UserError as error:
            reasons[", ".join(values)] = error.message
            continue
        cell = cell.model_copy(update={"model": models.get(cell.model, cell.model)})
        along = (place[0], place.get(1, 0), place.get(2, 0))
        cells.append(Cell(along, values, cell))
    if reasons:
        raise cannot_be_painted(reasons)
    return cells


def cannot_be_painted(reasons: Mapping[str, Message]) -> BadRequest:
    """The error for cells that cannot be painted.

    Args:
        reasons: what each is called, and why; of reasons that are the same, the first is told.
    """
    told = {str(reason): (cell, reason) for cell, reason in reversed(reasons.items())}
    shown = [
        Message("({cell}) {reason}", cell=cell, reason=reason)
        for cell, reason in itertools.islice(reversed(told.values()), _REASONS)
    ]
    if (more := len(told) - len(shown)) > 0:
        shown.append(Message("(+ {count})", count=more))
    return BadRequest(
        "{count} cells of the grid cannot be painted: {reasons}",
        count=len(reasons),
        reasons=shown,
    )


def read_axes(base: TextToImageRequest, axes: Sequence[Axis]) -> list[_Read]:
    """The axes with their values read.

    Raises:
        BadRequest: an axis cannot be read, two are of one setting, or the base has no such part.
    """
    read = [_read(axis, base) for axis in axes]
    fields = [axis.field for axis in read]
    if twice := [field for field in fields if fields.count(field) > 1 and field != PROMPT]:
        raise BadRequest(
            "Two axes are both of {field}. Choose another setting for one of them.",
            field=label_of(twice[0]),
        )
    return read


def label_of(field: str) -> str:
    """What an axis is called on the sheet and in a picture's settings."""
    return NAMES.get(field, field)


def _read(axis: Axis, base: TextToImageRequest) -> _Read:
    field = axis.field.strip()
    if field == SIZE:
        return _Read(field, tuple(_size(text) for text in read_texts(axis.values)))
    if field in (PROMPT, ORDER):
        values = read_texts(axis.values)
        words = f"{base.prompt}\n{base.negative_prompt}"
        count = 1 if field == PROMPT else len(values)
        values[:count] = wanted = [_match_form(value, words) for value in values[:count]]
        if missing := next((value for value in wanted if value not in words), None):
            raise BadRequest(
                "{value} does not stand in the prompt, where the axis {axis} looks for it. Write "
                "it there, or take another value.",
                value=missing[:100],
                axis=label_of(field),
            )
        if field == PROMPT:
            return _Read(field, tuple((values[0], value) for value in values))
        if len(values) > MAX_TOKENS:
            raise BadRequest(
                "Prompt order has {count} parts; the orders of at most {limit} are tried.",
                count=len(values),
                limit=MAX_TOKENS,
            )
        return _Read(field, tuple(itertools.permutations(values)))
    kind = _type_at(base, field)
    if kind in (int, float):
        return _Read(field, tuple(read_numbers(axis.values, kind is int)))
    if kind is bool:
        return _Read(field, tuple(_truth(text) for text in read_texts(axis.values)))
    return _Read(field, tuple(read_texts(axis.values)))


def _match_form(value: str, words: str) -> str:
    """A value in the form that stands in ``words``: letters with accents have one or two signs."""
    forms = (value, *(unicodedata.normalize(form, value) for form in ("NFC", "NFD")))
    return next((form for form in forms if form in words), value)


def _truth(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise BadRequest("{value} is neither true nor false.", value=text[:100])
    return known[text.lower()]


def _size(text: str) -> tuple[int, int]:
    if (match := _SIZE.fullmatch(text)) is None:
        raise BadRequest("{value} is no size. Write width and height as 512x768.", value=text[:100])
    return int(match[1]), int(match[2])


def _type_at(base: BaseModel, path: str) -> type:
    """What a setting of a request takes: int, float, bool or str.

    Raises:
        BadRequest: there is no such setting, or this request has not the part that it is in.
    """
    value: Any = base
    field: FieldInfo | None = None
    for text in path.split("."):
        match = _PART.fullmatch(text)
        fields = type(value).model_fields if isinstance(value, BaseModel) else {}
        if match is None or (field := fields.get(match[1])) is None or field.title is None:
            raise _no_setting(path)
        value = getattr(value, match[1])
        if match[2] is not None:
            parts = value if isinstance(value, tuple) else ()
            value = parts[int(match[2])] if int(match[2]) < len(parts) else None
            if value is None:
                raise _no_part(path, text)
        elif value is None and _model_in(field) is not None and text != path.split(".")[-1]:
            raise _no_part(path, text)
    kinds = set() if isinstance(value, BaseModel) or field is None else _scalars(field.annotation)
    if len(kinds) != 1 or (match := _PART.fullmatch(path.split(".")[-1])) is None or match[2]:
        raise _no_setting(path)
    return kinds.pop()


def _no_setting(path: str) -> BadRequest:
    return BadRequest(
        "There is no setting {field} to vary. Choose one of {names}, or write it as a request has "
        "it.",
        field=path[:100],
        names=", ".join(NAMES),
    )


def _no_part(path: str, part: str) -> BadRequest:
    return BadRequest(
        "{field} cannot be varied: the settings have no {part}. Choose it first, or take another "
        "axis.",
        field=path[:100],
        part=part,
    )


def _model_in(field: FieldInfo) -> type[BaseModel] | None:
    kinds = [field.annotation, *get_args(field.annotation)]
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _scalars(annotation: Any) -> set[type]:
    """The plain types that an annotation takes; of others, a set of more than one."""
    origin = get_origin(annotation)
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    if origin in (Union, UnionType):
        kinds = [_scalars(each) for each in get_args(annotation) if each is not NoneType]
        return set().union(*kinds)
    if hasattr(annotation, "__metadata__"):
        return _scalars(get_args(annotation)[0])
    return {annotation} if annotation in (int, float, bool, str) else {object, NoneType}


def _change(data: dict[str, Any], axis: _Read, number: int) -> dict[str, Any]:
    """The fields of a request with one value of an axis."""
    value = axis.values[number]
    if axis.field == SIZE:
        return {**data, "width": value[0], "height": value[1]}
    if axis.field == PROMPT:
        fields = ("prompt", "negative_prompt")
        return {**data, **{name: _replace(data[name], *value) for name in fields}}
    if axis.field == ORDER:
        return {**data, "prompt": _order(data["prompt"], value)}
    return _with_value(data, [_PART.fullmatch(part) for part in axis.field.split(".")], value)


def _replace(prompt: str, old: str, new: str) -> str:
    """The prompt with other words; raises BadRequest before it grows beyond any prompt's length.

    Three axes one after the other would make terabytes of a kilobyte.
    """
    length = len(prompt) + prompt.count(old) * (len(new) - len(old))
    if length > MAX_PROMPT:
        raise BadRequest(
            "The prompt would have {value} characters; at most {limit} are taken. Replace shorter "
            "or rarer words.",
            value=length,
            limit=MAX_PROMPT,
        )
    return prompt.replace(old, new)


def _with_value(data: Any, path: Sequence[re.Match[str] | None], value: Any) -> Any:
    if not path:
        return value
    rest, (name, number) = path[1:], path[0].groups()
    inner = data[name]
    if number is None:
        return {**data, name: _with_value(inner, rest, value)}
    parts = list(inner)
    parts[int(number)] = _with_value(parts[int(number)], rest, value)
    return {**data, name: parts}


def _order(prompt: str, tokens: Sequence[str]) -> str:
    """The prompt with the tokens in their order, at the places where they stood in any."""
    # The longest first: where one is part of another, that is meant.
    either = "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))
    left = iter(tokens)
    return re.sub(either, lambda match: next(left, match[0]), prompt)


def _cost(field: str) -> int:
    names = [name for name in _COSTLIEST if field.startswith(name)]
    aside = {"negative_prompt": "prompt", "width": "size", "height": "size"}
    name = names[0] if names else aside.get(field)
    return _COSTLIEST.index(name) if name in _COSTLIEST else len(_COSTLIEST)
