"""What the pages of a Parquet file unfold into, as their own headers say it.

The sums in a file's footer are what its writer says of it, and a reader does not need them: a
footer that claims a kilobyte may stand before pages of gigabytes each. A page's header is what is
read by: a page that unfolds into anything else than it says there is damaged.

Headers are Thrift structs in the compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), as
parquet.thrift of https://github.com/apache/parquet-format numbers their fields.
"""

from __future__ import annotations

import mmap
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_FOOTER = 4_000_000
"""Bytes. In memory a footer takes up to 230 times as many; of 1,000 columns in ten row groups it
has one to two million."""
MAX_PAGES = 200_000
MAX_HEADERS = 16_000_000  # bytes of all of them; some seconds
DICTIONARY_PAGE = 2
# Lengths or beginnings of texts as differences: of a hundred bytes, pyarrow allocates gigabytes.
BOUNDLESS = {6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}

_BOOLEANS, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY = (1, 2), 3, 4, 5, 6, 7, 8
_LIST, _SET, _MAP, _STRUCT = 9, 10, 11, 12
_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Page:
    """One page's header.

    Attributes:
        kind: 0: data, 2: dictionary, 3: data of version 2.
        unpacked: bytes that it unfolds into.
        packed: bytes that follow its header.
        values: how many there are, of data.
        encoding: of data; None where the header says none.
        header: bytes of the header itself.
    """

    kind: int
    unpacked: int
    packed: int
    values: int
    encoding: int | None
    header: int


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What is read of a file.

    Attributes:
        total: bytes of all pages.
        at_once: bytes of what may be in memory at the same time: of each column of a row group its
            largest page and its dictionary, in the row group with the most.
        pages: how many there are.
        boundless: the encoding of a page that can unfold into any number of bytes, whatever its
            header says, or None.
    """

    total: int
    at_once: int
    pages: int
    boundless: str | None


def footer_bytes(path: Path) -> int:
    """What a Parquet file says of the length of its footer.

    Raises:
        ValueError: it is no such file, or cut off.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        end = file.read(8)
    if len(end) < 8 or not end.endswith(b"PAR1"):
        raise ValueError("no PAR1 at its end")
    footer = int.from_bytes(end[:4], "little")
    if footer > size:
        raise ValueError("its description is longer than the file")
    return footer


def unpacked(path: Path, metadata: Any, names: Container[str]) -> Unpacked:
    """Goes through the headers of all pages of the columns ``names``; reads no page.

    Args:
        metadata: pyarrow's ``FileMetaData``.
        names: paths of columns in the schema; those of others are not looked at.

    Raises:
        ValueError: a header cannot be read, or there are more than :data:`MAX_PAGES` pages.
    """
    total = most = count = headers = 0
    boundless = None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            at_once = 0
            for place in range(group.num_columns):
                column = group.column(place)
                if column.path_in_schema not in names:
                    continue
                largest = dictionary = 0
                for page in _pages(data, column, MAX_HEADERS - headers):
                    count += 1
                    headers += page.header
                    if count > MAX_PAGES:
                        raise ValueError(f"more than {MAX_PAGES:,} pages")
                    total += page.unpacked
                    if page.kind == DICTIONARY_PAGE:
                        dictionary += page.unpacked
                    else:
                        largest = max(largest, page.unpacked)
                    boundless = boundless or BOUNDLESS.get(page.encoding)
                at_once += largest + dictionary
            most = max(most, at_once)
    return Unpacked(total, most, count, boundless)


def _pages(data: mmap.mmap, column: Any, limit: int) -> Iterator[Page]:
    start = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
        start = column.dictionary_page_offset
    end = start + column.total_compressed_size
    if not 0 <= start <= end <= len(data):
        raise ValueError("pages beyond the end of the file")
    seen = 0
    while start < end and seen < column.num_values:  # as pyarrow goes through them
        page = _Reader(data, start, min(len(data), start + limit)).page()
        yield page
        seen += page.values
        limit -= page.header
        start += page.header + page.packed


class _Reader:
    """Thrift's compact protocol, from a place in a file on."""

    def __init__(self, data: mmap.mmap, start: int, end: int) -> None:
        self.data, self.start, self.place, self.end = data, start, start, end

    def page(self) -> Page:
        found: dict[int, int] = {}
        values, encoding = 0, None
        for number, kind in self._fields():
            if number in (1, 2, 3) and kind == _I32:
                found[number] = self._signed()
            elif number in (5, 8) and kind == _STRUCT:  # DataPageHeader, DataPageHeaderV2
                values, encoding = self._about_data(4 if number == 8 else 2)
            else:
                self._skip(kind)
        if set(found) != {1, 2, 3} or min(values, *found.values()) < 0:
            raise ValueError("a page without its sizes")
        return Page(found[1], found[2], found[3], values, encoding, self.place - self.start)

    def _about_data(self, field: int) -> tuple[int, int | None]:
        """How many values there are, and what ``field`` says of their encoding."""
        values, encoding = 0, None
        for number, kind in self._fields():
            if number == 1 and kind == _I32:
                values = self._signed()
            elif number == field and kind == _I32:
                encoding = self._signed()
            else:
                self._skip(kind)
        return values, encoding

    def _fields(self) -> Iterator[tuple[int, int]]:
        number = 0
        while head := self._byte():
            step = head >> 4
            number = number + step if step else self._signed()
            yield number, head & 15

    def _byte(self) -> int:
        self._pass(1)
        return self.data[self.place - 1]

    def _pass(self, count: int) -> None:
        self.place += count
        if self.place > self.end:
            raise ValueError("a page's header is too long or cut off")

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number without end")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, kind: int, depth: int = 0) -> None:
        if depth > _DEEPEST:
            raise ValueError("a header of too many levels")
        if kind in _BOOLEANS:
            return
        if kind == _BYTE:
            self._pass(1)
        elif kind in (_I16, _I32, _I64):
            self._unsigned()
        elif kind == _DOUBLE:
            self._pass(8)
        elif kind == _BINARY:
            self._pass(self._unsigned())
        elif kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner, depth + 1)
        elif kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._unsigned()
            for _ in range(count):
                self._item(head & 15, depth)
        elif kind == _MAP:
            if count := self._unsigned():
                kinds = self._byte()
                for _ in range(count):
                    self._item(kinds >> 4, depth)
                    self._item(kinds & 15, depth)
        else:
            raise ValueError(f"a field of kind {kind}")

    def _item(self, kind: int, depth: int) -> None:
        """Of a list or map; truth values take a byte there."""
        if kind in _BOOLEANS:
            self._pass(1)
        else:
            self._skip(kind, depth + 1)
