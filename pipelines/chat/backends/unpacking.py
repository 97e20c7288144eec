"""An answer's bytes without the compression that a server or a proxy has put on them.

Not httpx' own way: it unpacks a piece as a whole, and 64 kB of Brotli may be many gigabytes. No
compression is asked for; what comes in gzip or deflate all the same is unpacked a little at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import httpx

ASKED = "identity"  # in the header Accept-Encoding
PIECE_BYTES = 2**18
_ZLIB = {"gzip", "x-gzip", "deflate"}
_EITHER = 32 + zlib.MAX_WBITS  # gzip's head or zlib's
_BARE = -zlib.MAX_WBITS  # neither, as some servers send deflate


class UnknownCoding(Exception):
    """The answer is packed in a way that nobody has asked for; its name is the text."""


def unpack(response: httpx.Response) -> Iterator[bytes]:
    """The body in pieces of at most :data:`PIECE_BYTES` where it is packed, as it comes elsewhere.

    Raises:
        UnknownCoding: it is packed neither in gzip nor in deflate.
        httpx.DecodingError: it says that it is, and is not.
    """
    named = response.headers.get("content-encoding", "").lower().split(",")
    codings = [each.strip() for each in named if each.strip() not in ("", "identity")]
    if not codings:
        yield from response.iter_raw()
        return
    if len(codings) > 1 or codings[0] not in _ZLIB:
        raise UnknownCoding(", ".join(codings))
    unpacker, first = zlib.decompressobj(_EITHER), codings == ["deflate"]
    for packed in response.iter_raw():
        while packed:
            try:
                piece = unpacker.decompress(packed, PIECE_BYTES)
            except zlib.error as error:
                if first:
                    unpacker, first = zlib.decompressobj(_BARE), False
                    continue
                raise httpx.DecodingError(str(error)) from error
            first = False
            if piece:
                yield piece
            packed = unpacker.unconsumed_tail
            if unpacker.eof:  # one packed piece behind the other
                packed, unpacker = unpacker.unused_data, zlib.decompressobj(_EITHER)
