"""How tasks, points and results pass between the studio and its workers: as JSON and NPY.

A worker reads strangers' files, and one that was taken over by such a file writes what it likes.
So nothing is ever unpickled. A file of this module is a line of JSON, a list of one value in which
each array is a number, and then the arrays, each as NPY, in the order of these numbers. Whoever
reads it names the type that is expected: a type with type hints as pydantic knows them, in which
arrays are annotated by :class:`ArrayOf`. Fields that are missing or unknown, other types, numbers
that are not finite, and arrays of another dtype, rank or length than the bytes that are there are
refused.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import IO, Annotated, Any, get_args, get_origin, get_type_hints
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np
from pydantic import (
    AfterValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticSerializationError, core_schema
from typing_extensions import TypedDict  # pydantic takes Python's own from 3.12 on only

from pipelines.core.child_process import UnreadableAnswer
from pipelines.core.files import UnbufferedFile

MAX_JSON = 64_000_000
"""Bytes of the line of JSON; an animation of 2,000 points has some ten million."""
MAX_ARRAYS = 100
_MAX_RANK = 4
_MAX_LENGTH = 10**10  # of an axis
_NUMBERS = "iuf"  # kinds of dtypes: integers and floats
_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ArrayOf:
    """An array in a type hint: ``Annotated[np.ndarray, ArrayOf("int32", 1)]``.

    Args:
        dtype: that it must have; None: any integers or floats.
        rank: how many axes it must have; None: any number up to four.
        finite: whether NaN and infinity are refused.
    """

    def __init__(
        self, dtype: str | None = None, rank: int | None = None, finite: bool = False
    ) -> None:
        self.dtype, self.rank, self.finite = dtype, rank, finite

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._find,
            serialization=core_schema.plain_serializer_function_ser_schema(_append, info_arg=True),
        )

    def _find(self, number: Any, info: core_schema.ValidationInfo) -> np.ndarray:
        arrays: list[np.ndarray] = info.context
        if type(number) is not int or not 0 <= number < len(arrays):
            raise ValueError(f"there is no array {number!r}"[:80])
        array = arrays[number]
        if self.dtype is not None and array.dtype != np.dtype(self.dtype):
            raise ValueError(f"the array has dtype {array.dtype} instead of {self.dtype}")
        if self.rank is not None and array.ndim != self.rank:
            raise ValueError(f"the array has {array.ndim} axes instead of {self.rank}")
        if self.finite and not np.isfinite(array).all():
            raise ValueError("the array has values that are not finite")
        return array


def _append(array: np.ndarray, info: core_schema.SerializationInfo) -> int:
    info.context.append(array)
    return len(info.context) - 1


def _check_finite(value: Any) -> Any:
    """Refuses NaN and infinity anywhere in a JSON value; an animation has millions of numbers."""
    left: list[Any] = [[value]]
    while left:
        inside = left.pop()
        for each in inside.values() if type(inside) is dict else inside:
            kind = type(each)
            if kind is list or kind is dict:
                left.append(each)
            elif kind is float and not math.isfinite(each):
                raise ValueError("a number is not finite")
    return value


def _quote(path: Path) -> str:
    return quote_from_bytes(os.fsencode(path))


def _unquote(text: Any) -> Path:
    if not isinstance(text, str):
        raise ValueError("no path")
    return Path(os.fsdecode(unquote_to_bytes(text)))


FilePath = Annotated[Path, PlainValidator(_unquote), PlainSerializer(_quote)]
"""A path; names of files are bytes, which need not be UTF-8."""
Json = Annotated[Any, AfterValidator(_check_finite)]
"""Any JSON value; its floats are finite."""
Array = Annotated[np.ndarray, ArrayOf()]
Vector = Annotated[np.ndarray, ArrayOf("float64", 1)]
Matrix = Annotated[np.ndarray, ArrayOf("float64", 2)]
Labels = Annotated[np.ndarray, ArrayOf("int32", 1)]
Rows = Annotated[np.ndarray, ArrayOf("int64", 1)]


@cache
def types_of(function: Callable[..., Any]) -> tuple[Any, Any]:
    """The types of a function's arguments but ``stop``, as a dictionary's, and of its result.

    A generator's result is what it returns at its end: the third argument of ``Generator``.
    """
    hints = get_type_hints(function, include_extras=True)
    result = hints.pop("return")
    if get_origin(result) is Generator:
        result = get_args(result)[2]
    hints.pop("stop", None)
    return TypedDict("Arguments", hints, total=False), result


@cache
def _adapter(kind: Any) -> TypeAdapter:
    # Within a tuple the configuration holds for all plain dataclasses inside, however deep.
    return TypeAdapter(tuple[kind], config=_CONFIG)


def write(path: Path, kind: Any, value: Any) -> None:
    """Writes a value of the type ``kind``, whole or not at all.

    Raises:
        OSError: as of any other file.
        TypeError: the value is of another type.
    """
    arrays: list[np.ndarray] = []
    try:
        text = _adapter(kind).dump_json((value,), context=arrays, warnings=False)
    except PydanticSerializationError as error:
        raise TypeError(str(error)[:500]) from error
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(text + b"\n")
        for array in arrays:
            np.save(UnbufferedFile(file), array, allow_pickle=False)
    part.replace(path)


def read(path: Path, kind: Any, most: int) -> Any:
    """The value of the type ``kind`` that :func:`write` wrote, or somebody else.

    Args:
        most: bytes that the file may have.

    Raises:
        UnreadableAnswer: it holds anything else, or is no plain file.
        UserError: a model inside refuses a value.
    """
    # No link is followed, and no pipe waited for.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_size > most:
                raise UnreadableAnswer(f"no plain file of at most {most} bytes")
            text = file.readline(MAX_JSON + 1)
            if not text.endswith(b"\n") or len(text) > MAX_JSON:
                raise UnreadableAnswer("the line of JSON is too long or cut off")
            arrays: list[np.ndarray] = []
            while (left := about.st_size - file.tell()) > 0:
                if len(arrays) == MAX_ARRAYS:
                    raise UnreadableAnswer(f"more than {MAX_ARRAYS} arrays")
                arrays.append(_read_array(file, left))
    except OSError as error:
        raise UnreadableAnswer(f"{type(error).__name__}: {error}") from error
    return parse(text, kind, arrays)


def parse(text: bytes, kind: Any, arrays: list[np.ndarray] | None = None) -> Any:
    """The value of the type ``kind`` in a line of JSON, a list of that value alone.

    Raises:
        UnreadableAnswer, UserError: as :func:`read` does.
    """
    try:
        return _adapter(kind).validate_json(text, context=arrays or [])[0]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UnreadableAnswer(f"{where}: {first['msg']}"[:500]) from None


def _read_array(file: IO[bytes], left: int) -> np.ndarray:
    """The next array of a file that has ``left`` bytes more."""
    start = file.tell()
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"NPY of version {version}")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # the header is parsed as Python's literals, which fail in any way
        raise UnreadableAnswer(f"no NPY: {error}"[:500]) from None
    if dtype.kind not in _NUMBERS or not dtype.isnative or len(shape) > _MAX_RANK:
        raise UnreadableAnswer(f"an array of {dtype} with {len(shape)} axes")
    if not all(0 <= length <= _MAX_LENGTH for length in shape):
        raise UnreadableAnswer("an array of a length that no array has")
    count = math.prod(shape)
    needed = count * dtype.itemsize
    if needed > left - (file.tell() - start):
        raise UnreadableAnswer(f"an array of {shape} is cut off")
    data = np.empty(count, dtype)
    # Read, and not mapped: who wrote the file could still cut it off.
    if count and file.readinto(data.view(np.uint8)) != needed:
        raise UnreadableAnswer(f"an array of {shape} is cut off")
    try:
        return data.reshape(shape, order="F" if by_columns else "C")
    except ValueError:  # a length of 0 beside lengths whose product is no index
        raise UnreadableAnswer(f"an array of {shape}") from None
