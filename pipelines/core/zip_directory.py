"""How long a zip's list of its files is, known before the list is read.

Python's ``zipfile`` reads the whole list into memory when it opens a file: a zip of a gigabyte may
hold nothing else.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

_END = b"PK\x05\x06"
_END64 = b"PK\x06\x07"  # says where the record of a Zip64 is
_RECORD64 = b"PK\x06\x06"
_LONGEST_END = 65_557  # bytes: the record itself and the longest comment


def directory_size(file: BinaryIO) -> tuple[int, int]:
    """How many files a zip says that it holds, and the bytes of its list of them.

    Raises:
        ValueError: it has no such list, or is cut off.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _LONGEST_END))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise ValueError("no end of a central directory")
    count, length = struct.unpack_from("<HL", tail, at + 10)
    if at >= 20 and tail[at - 20 : at - 16] == _END64:  # programs write it for small zips too
        (place,) = struct.unpack_from("<Q", tail, at - 12)
        file.seek(min(place, size))
        record = file.read(56)
        file.seek(0)
        if len(record) < 56 or record[:4] != _RECORD64:
            raise ValueError("no record of a Zip64")
        count, length = struct.unpack_from("<QQ", record, 32)
    return count, length
