"""Tables as text, read in chunks, so that memory does not grow with the file."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.clustering.layout import Layout, not_of, too_many_fields
from pipelines.errors import BadRequest, Stopped

if TYPE_CHECKING:
    import pandas as pd

CHUNK_CELLS = 500_000  # about a tenth of a second's reading
MISSING = ("?", "-", "–", "—")  # besides what pandas takes for missing: NA, n/a, null, None …


def chunks(
    path: Path,
    layout: Layout,
    names: Sequence[str],
    texts: Sequence[str] = (),
    verbatim: bool = False,
    stop: threading.Event | None = None,
) -> Iterator[pd.DataFrame]:
    """The rows of the columns ``names``, at most about 500,000 cells at once.

    Args:
        texts: those of the columns whose cells stay as they are written.
        verbatim: all cells stay as they are written, missing ones as "".

    Raises:
        BadRequest: a line has too many fields, a quotation mark is never closed, or a byte is none
            of the encoding; the sentence says where.
        Stopped: ``stop`` was set.
    """
    import pandas as pd

    options: dict[str, Any] = {"dtype": str} if verbatim else {"dtype": dict.fromkeys(texts, str)}
    if verbatim:
        options |= {"keep_default_na": False, "na_filter": False}
    else:
        options |= {"na_values": list(MISSING)}
    if set(names) != set(layout.names):  # all of them: then fields too many are an error
        options["usecols"] = list(names)
    try:
        with (
            path.open(encoding=layout.encoding, newline="") as file,
            pd.read_csv(
                file,
                sep=r"\s+" if layout.delimiter == " " else layout.delimiter,
                decimal=layout.decimal,
                thousands=layout.thousands,
                header=None,
                names=list(layout.names),
                index_col=False,
                skiprows=layout.skip,
                chunksize=max(1, CHUNK_CELLS // len(layout.names)),
                low_memory=False,  # one type for a column of a chunk
                **options,
            ) as reader,
        ):
            for chunk in reader:
                if stop is not None and stop.is_set():
                    raise Stopped
                yield chunk[list(names)]
    except pd.errors.EmptyDataError:
        return
    except pd.errors.ParserError as error:
        raise _spoken(str(error), layout) from None
    except UnicodeError as error:
        raise not_of(layout.encoding, error) from None


def _spoken(error: str, layout: Layout) -> BadRequest:
    if match := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", error):
        expected, line, saw = map(int, match.groups())
        return too_many_fields(line, saw, expected, layout.delimiter)
    if match := re.search(r"EOF inside string starting at row (\d+)", error):
        return BadRequest(
            "A quotation mark in row {row} is never closed.",
            row=f"{int(match[1]) + 1:,}",
        )
    return BadRequest("The table cannot be read: {reason}", reason=error.strip())
