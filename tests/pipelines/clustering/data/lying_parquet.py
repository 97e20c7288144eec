"""Parquet files, byte by byte, that say other than they hold; no writer makes them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

DOUBLE, BYTES = 5, 6  # physical types
TEXT = 0  # logical type
PLAIN, DELTA_LENGTHS, DELTA_BYTES = 0, 6, 7  # encodings
GZIP = 2
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12


def varint(number: int) -> bytes:
    """ULEB128."""
    octets = bytearray()
    while number > 127:
        octets.append(number & 127 | 128)
        number >>= 7
    return bytes([*octets, number])


def zigzag(number: int) -> bytes:
    """Zigzag."""
    return varint((number << 1) ^ (number >> 63))


def struct(*fields: tuple[int, int, bytes]) -> bytes:
    """Of (number, kind, value), in the order of their numbers; Thrift's compact protocol."""
    octets, before = b"", 0
    for number, kind, value in fields:
        octets += bytes([(number - before) << 4 | kind]) + value
        before = number
    return octets + b"\0"


def encode_list(kind: int, items: list[bytes]) -> bytes:
    few = len(items) < 15
    head = bytes([len(items) << 4 | kind]) if few else bytes([0xF0 | kind]) + varint(len(items))
    return head + b"".join(items)


def text(value: str) -> bytes:
    return varint(len(value)) + value.encode()


def encode_repeats(first: int, other: int, count: int) -> bytes:
    """``first``, then ``other`` for all the rest, of ``count`` in all: as DELTA_BINARY_PACKED."""
    steps = count - 1
    size = -(-steps // 128) * 128  # one block, of four miniblocks, as many of them as are needed
    change = other - first
    least = min(change, 0)
    width = max(change - least, -least).bit_length()
    needed = -(-steps // (size // 4)) if least else 1  # each further step is 0
    deltas = [change - least] + [-least] * (needed * size // 4 - 1)
    bits = sum(delta << (width * place) for place, delta in enumerate(deltas))
    head = varint(size) + varint(4) + varint(count) + zigzag(first) + zigzag(least)
    widths = [width] * needed + [0] * (4 - needed)
    return head + bytes(widths) + bits.to_bytes(len(deltas) * width // 8, "little")


def zeros(count: int) -> bytes:
    """So many zero bytes, as gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1_000_000)
    parts = [packer.compress(block) for _ in range(count // len(block))]
    return b"".join((*parts, packer.compress(bytes(count % len(block))), packer.flush()))


@dataclass
class Lie:
    """One row group whose columns have one page each.

    Attributes:
        rows: that the footer claims.
        page_rows: that the page's header claims.
        claimed: bytes that the footer says a column unfolds into.
        unpacked: bytes that the page's header says it unfolds into.
        packed: the page, as gzip.
    """

    packed: bytes
    unpacked: int
    rows: int = 10
    page_rows: int = 10
    claimed: int = 100
    columns: int = 1
    physical: int = DOUBLE
    logical: int | None = None
    encoding: int = PLAIN

    def octets(self) -> bytes:
        data = struct(
            (1, _I32, zigzag(self.page_rows)),
            (2, _I32, zigzag(self.encoding)),
            (3, _I32, zigzag(3)),
            (4, _I32, zigzag(3)),
        )
        header = struct(
            (1, _I32, zigzag(0)),
            (2, _I32, zigzag(self.unpacked)),
            (3, _I32, zigzag(len(self.packed))),
            (5, _STRUCT, data),
        )
        names = [f"c{number}" for number in range(self.columns)]
        schema = [struct((4, _BINARY, text("schema")), (5, _I32, zigzag(self.columns)))]
        octets, chunks = b"PAR1", []
        for name in names:
            logical = () if self.logical is None else ((6, _I32, zigzag(self.logical)),)
            schema.append(
                struct(
                    (1, _I32, zigzag(self.physical)),
                    (3, _I32, zigzag(0)),
                    (4, _BINARY, text(name)),
                    *logical,
                )
            )
            about = struct(
                (1, _I32, zigzag(self.physical)),
                (2, _LIST, encode_list(_I32, [zigzag(self.encoding)])),
                (3, _LIST, encode_list(_BINARY, [text(name)])),
                (4, _I32, zigzag(GZIP)),
                (5, _I64, zigzag(self.rows)),
                (6, _I64, zigzag(self.claimed)),
                (7, _I64, zigzag(len(header) + len(self.packed))),
                (9, _I64, zigzag(len(octets))),
            )
            chunks.append(struct((2, _I64, zigzag(len(octets))), (3, _STRUCT, about)))
            octets += header + self.packed
        group = struct(
            (1, _LIST, encode_list(_STRUCT, chunks)),
            (2, _I64, zigzag(self.claimed)),
            (3, _I64, zigzag(self.rows)),
        )
        footer = struct(
            (1, _I32, zigzag(1)),
            (2, _LIST, encode_list(_STRUCT, schema)),
            (3, _I64, zigzag(self.rows)),
            (4, _LIST, encode_list(_STRUCT, [group])),
        )
        return octets + footer + len(footer).to_bytes(4, "little") + b"PAR1"
