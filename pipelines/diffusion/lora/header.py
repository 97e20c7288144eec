"""The header of a safetensors file, read without trust: strangers upload these files.

The format (https://huggingface.co/docs/safetensors): eight bytes with the header's length, little
endian; the header, a JSON object that names each tensor's dtype, shape and place; the data, without
gaps. Nothing in such a file can run.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import BadRequest
from pipelines.core.file_kinds import START, directory_size, no_weights
from pipelines.core.sizes import format_bytes

# A LoRA of all modules of SDXL has some 8,000 tensors in 1 MB; lists of tags have a few MB. The
# format allows 100 MB, which would keep everybody waiting while one file is read.
MAX_HEADER = 16 * 10**6
MAX_TENSORS = 30_000
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
_BYTES = _FLOATS | {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1,
                    "BOOL": 1}  # fmt: skip
# How struct reads single numbers; of some the missing lower half is zeros.
_NUMBERS = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i", "I16": "<h",
            "I8": "<b", "U64": "<Q", "U32": "<I", "U16": "<H", "U8": "<B"}  # fmt: skip
_UPPER_HALVES = {"BF16": ("<f", b"\0\0"), "F8_E5M2": ("<e", b"\0")}
_MAX_DIMENSION = 2**40
# Pickle protocols 2 to 5. A header of 640 bytes has the same beginning: what follows tells.
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_MAX_DIRECTORY = 1_000_000  # bytes of a zip's list of its files
_PLACE = b'"data_offsets"'  # in each tensor's entry of a header
_ZIP = b"PK\x03\x04"
_PICKLE_NAMES = (".pkl", ".pickle", ".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies; ``start`` and ``end`` are bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def is_float(self) -> bool:
        return self.dtype in _FLOATS


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes:
        metadata: text by name, as its writer chose.
        data_start: bytes before the first tensor.
    """

    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]
    data_start: int


def read_header(path: Path, file: str) -> Header:
    """The header of ``path``, which sentences call ``file``; every claim of it is checked.

    Raises:
        BadRequest: it is no whole safetensors file; the sentence says what is wrong.
    """
    size = path.stat().st_size
    with path.open("rb") as opened:
        start = opened.read(START)
        prefix = start[:8]
        _check_kind(path, start, file)
        opened.seek(8)
        if len(prefix) < 8:
            raise BadRequest("{file} has {size} bytes; that is no .safetensors file.",
                             file=file, size=size)  # fmt: skip
        (length,) = struct.unpack("<Q", prefix)
        if length > size - 8:
            raise BadRequest(
                "{file} claims a header of {claimed}, but the whole file has {size}. It is "
                "damaged, or no .safetensors file.",
                file=file,
                claimed=format_bytes(length),
                size=format_bytes(size),
            )
        if length > MAX_HEADER:
            raise BadRequest("{file} has a header of {claimed}; at most {limit} are read.",
                             file=file, claimed=format_bytes(length),
                             limit=format_bytes(MAX_HEADER))  # fmt: skip
        raw = opened.read(length)
    _check_count(raw.count(_PLACE), file)
    try:
        entries = json.loads(raw)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict):
        raise BadRequest("The header of {file} is not JSON. It is damaged, or no .safetensors "
                         "file.", file=file)  # fmt: skip
    metadata = entries.pop("__metadata__", None)
    _check_count(len(entries), file)
    tensors = {
        name: _tensor(name, entry, 8 + length, size, file) for name, entry in entries.items()
    }
    _check_places(tensors, 8 + length, size, file)
    return Header(_texts(metadata, file), tensors, 8 + length)


def _check_count(count: int, file: str) -> None:
    if count > MAX_TENSORS:
        raise BadRequest(
            "{file} holds {count} tensors; at most {limit} are read.",
            file=file,
            count=count,
            limit=MAX_TENSORS,
        )


def looks_like_zip(start: bytes) -> bool:
    """Whether a file's first nine bytes are those of a zip file."""
    return start.startswith(_ZIP) and start[8:9] != b"{"


def is_pickle_name(name: str) -> bool:
    """Whether files of this name hold pickles."""
    return name.lower().endswith(_PICKLE_NAMES)


def pickle_refusal(file: str) -> BadRequest:
    """What is said of a file that holds a pickle."""
    return BadRequest(
        "{file} is a pickle (.pt, .ckpt or .bin), which can run any code when it is "
        "opened, whatever it is called. Get it as .safetensors.",
        file=file,
    )


def _check_kind(path: Path, start: bytes, file: str) -> None:
    """Refuses pickles, zip files and other foreign files, each by its name."""
    if start[8:9] == b"{":  # the header of a safetensors file, whatever its length looks like
        return
    if start.startswith(_PICKLES):
        raise pickle_refusal(file)
    if (foreign := no_weights(start, file)) is not None:
        raise BadRequest(foreign.template, **foreign.values)
    if not looks_like_zip(start):
        return
    try:
        holds_pickle = any(is_pickle_name(name) for name in _names_in_zip(path))
    except (zipfile.BadZipFile, OSError, ValueError):
        holds_pickle = False
    if holds_pickle:  # torch.save puts its pickles into zip files
        raise pickle_refusal(file)
    raise BadRequest(
        "{file} is a zip file. Take the .safetensors out of it, and put that here.", file=file
    )


def _names_in_zip(path: Path) -> list[str]:
    """The names of a zip's files; none where the list of them would take long to read."""
    with path.open("rb") as opened:
        if directory_size(opened)[1] > _MAX_DIRECTORY:
            return []
        with zipfile.ZipFile(opened) as archive:
            return archive.namelist()


def file_hash(path: Path, start: int = 0) -> str:
    """SHA-256 of a file from byte ``start`` on.

    A1111, Forge and Civitai know a LoRA by what follows its header, an embedding by all of it.
    """
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        opened.seek(start)
        while block := opened.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def scalar(path: Path, info: TensorInfo) -> float | None:
    """The number of a tensor that holds just one; None where it holds several, or no number."""
    if math.prod(info.shape) != 1:
        return None
    with path.open("rb") as opened:
        opened.seek(info.start)
        raw = opened.read(info.end - info.start)
    if info.dtype == "F8_E4M3":
        value = _e4m3(raw[0])
    elif info.dtype in _UPPER_HALVES:
        number, zeros = _UPPER_HALVES[info.dtype]
        value = struct.unpack(number, zeros + raw)[0]
    elif info.dtype in _NUMBERS:
        value = float(struct.unpack(_NUMBERS[info.dtype], raw)[0])
    else:
        return None
    return value if math.isfinite(value) else None


def _e4m3(byte: int) -> float:
    """One byte as a float8 without infinities: 4 bits of exponent, bias 7, and 3 of mantissa.

    Source: "FP8 Formats for Deep Learning", https://arxiv.org/abs/2209.05433.
    """
    sign, exponent, mantissa = -1.0 if byte & 0x80 else 1.0, byte >> 3 & 0xF, byte & 0x7
    if exponent == 0xF and mantissa == 0x7:
        return math.nan
    if exponent == 0:
        return sign * mantissa * 2.0**-9
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


def _tensor(name: str, entry: Any, data_start: int, size: int, file: str) -> TensorInfo:
    damaged = BadRequest("{file} is damaged: what it says about its tensor {tensor} makes no "
                         "sense.", file=file, tensor=name[:100])  # fmt: skip
    if not isinstance(entry, dict):
        raise damaged
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    fits = (
        isinstance(dtype, str)
        and isinstance(shape, list)
        and all(_is_count(n) for n in shape)
        and isinstance(offsets, list)
        and len(offsets) == 2
        and all(_is_count(n) for n in offsets)
    )
    if not fits:
        raise damaged
    if dtype not in _BYTES:
        raise BadRequest("{file} holds numbers of the kind {dtype}, which cannot be read here.",
                         file=file, dtype=dtype[:40])  # fmt: skip
    start, end = offsets
    if data_start + end > size:
        raise BadRequest(
            "{file} is cut short: its tensor {tensor} ends at {claimed}, but the file has {size}.",
            file=file,
            tensor=name[:100],
            claimed=format_bytes(data_start + end),
            size=format_bytes(size),
        )
    if end - start != math.prod(shape) * _BYTES[dtype]:
        raise damaged
    return TensorInfo(dtype, tuple(shape), data_start + start, data_start + end)


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number <= _MAX_DIMENSION


def _check_places(tensors: dict[str, TensorInfo], start: int, size: int, file: str) -> None:
    """Tensors lie side by side from the header to the end: nothing overlaps, nothing is hidden."""
    for info in sorted(tensors.values(), key=lambda each: (each.start, each.end)):
        if info.start != start:
            break
        start = info.end
    else:
        if start == size:
            return
    raise BadRequest("{file} is damaged: its tensors overlap, or leave gaps.", file=file)


def _texts(metadata: Any, file: str) -> dict[str, str]:
    """The metadata, which the format allows to be texts by name and nothing else."""
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise BadRequest(
            "{file} is damaged: its metadata are something else than texts by name.", file=file
        )
    return metadata
