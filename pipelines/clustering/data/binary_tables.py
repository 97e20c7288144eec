"""Tables as Parquet and NPY, read in chunks. Nothing is ever unpickled."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.clustering.data.csv_dialect import MAX_COLUMNS, too_many_columns, unique
from pipelines.clustering.data.delimited import CHUNK_CELLS
from pipelines.clustering.data.parquet_pages import MAX_FOOTER, footer_bytes, unpacked
from pipelines.core.errors import BadRequest, Stopped, Unavailable
from pipelines.core.sizes import in_words

if TYPE_CHECKING:
    import pandas as pd

MAX_UNPACKED = 4_000_000_000  # bytes that a Parquet file unfolds into
MAX_AT_ONCE = 1_000_000_000  # of them, in memory at the same time


def open_parquet(path: Path) -> Any:
    """pyarrow's ``ParquetFile``; texts stay dictionaries where the file has them as such, so that
    a small file cannot unfold into a large one.

    Raises:
        Unavailable: pyarrow is not installed.
        BadRequest: damaged, or its description is too large.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise Unavailable(
            "Parquet files are read by pyarrow, which is not installed here "
            "(pip install pyarrow). Save the table as CSV and send that."
        ) from None
    try:
        footer = footer_bytes(path)
        if footer > MAX_FOOTER:
            raise BadRequest(
                "The description at the end of the Parquet file takes {size}; at most {limit} are "
                "read. Write the table with fewer columns, or in fewer row groups.",
                size=in_words(footer),
                limit=in_words(MAX_FOOTER),
            )
        schema = parquet.read_schema(path)
        texts = [each.name for each in schema if str(each.type) in ("string", "large_string")]
        file = parquet.ParquetFile(path, read_dictionary=texts)
    except (ArrowException, OSError, ValueError) as error:
        raise _damaged("Parquet") from error
    if twice := [name for name, count in Counter(schema.names).items() if count > 1]:
        raise BadRequest(
            "The Parquet file has two columns called {name}. Rename one of them.",
            name=repr(twice[0][:60]),
        )
    if len(schema) > MAX_COLUMNS:
        raise too_many_columns(len(schema))
    return file


def check_pages(path: Path, file: Any) -> None:
    """Whether all that is read of a ``ParquetFile`` can be held, by the headers of its pages; what
    its footer says of that nobody needs to believe.

    Raises:
        BadRequest: it unfolds into too much, or is damaged.
    """
    try:
        found = unpacked(path, file.metadata, set(flat_names(file)))
    except OSError as error:
        raise _damaged("Parquet") from error
    except ValueError as error:
        raise BadRequest(
            "The {kind} file is damaged or cut off ({reason}). Send the whole file.",
            kind="Parquet",
            reason=str(error)[:200],
        ) from error
    if found.total > MAX_UNPACKED:
        raise BadRequest(
            "The file unfolds into {size} GB; at most {limit} GB are read. Keep fewer columns.",
            size=round(found.total / 1e9, 1),
            limit=MAX_UNPACKED // 10**9,
        )
    if found.at_once > MAX_AT_ONCE:
        raise BadRequest(
            "{size} GB of the file have to be unfolded at once; at most {limit} GB are. Write it "
            "in smaller row groups, or keep fewer columns.",
            size=round(found.at_once / 1e9, 1),
            limit=MAX_AT_ONCE // 10**9,
        )
    if found.boundless:
        raise BadRequest(
            "Texts of the Parquet file are packed by the encoding {encoding}, by which a few bytes "
            "can unfold into any number. Write it with another encoding, such as plain or "
            "dictionary.",
            encoding=found.boundless,
        )


def flat_names(file: Any) -> tuple[str, ...]:
    """The columns of a ``ParquetFile`` that are read: numbers, truth values, times and texts.

    Lists, structures and bytes are not. A few kilobytes can stand for as many of them as fill the
    memory, since they cannot be kept as dictionaries; and there is no distance between them.
    """
    schema = file.schema_arrow
    flat = [each.name for each in schema if _is_flat(each.type)]
    # pyarrow takes the name "a.b" for what is below "a" as well.
    below = {name.partition(".")[0] for name in set(schema.names) - set(flat)}
    return tuple(name for name in flat if "." not in name or name.partition(".")[0] not in below)


def _is_flat(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        is_kind(kind)
        for is_kind in (
            types.is_integer,
            types.is_floating,
            types.is_boolean,
            types.is_decimal,
            types.is_temporal,
            types.is_null,
            types.is_string,
            types.is_large_string,
        )
    )


def parquet_chunks(
    path: Path, names: Sequence[str], stop: threading.Event | None = None
) -> Iterator[pd.DataFrame]:
    """The rows of the columns ``names``. Raises as :func:`open_parquet`, and Stopped."""
    with open_parquet(path) as file:
        from pyarrow import ArrowException

        given = flat_names(file)
        size = max(1, CHUNK_CELLS // max(1, len(names)))
        by_name = dict(zip(unique(given), given, strict=True))
        try:
            for batch in file.iter_batches(size, columns=[by_name[name] for name in names]):
                if stop is not None and stop.is_set():
                    raise Stopped
                yield batch.to_pandas(date_as_object=False).set_axis(list(names), axis=1)
        except (ArrowException, OSError, ValueError) as error:
            raise _damaged("Parquet") from error


def open_npy(path: Path) -> np.ndarray:
    """(n, d) array on the disk, not in memory; of one axis it becomes one column.

    Raises:
        BadRequest: objects, text, complex numbers, more than two axes, or damaged.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's reader meets damage with errors of many kinds
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise BadRequest(
                "The NPY file holds Python objects, which are never opened because that can run "
                "code. Save an array of numbers: numpy.save(path, array.astype(float))."
            ) from None
        raise _damaged("NPY") from error
    if array.dtype.kind not in "fiub":
        raise BadRequest(
            "The NPY file holds {kind}; an array of numbers is needed.", kind=str(array.dtype)[:60]
        )
    if array.ndim not in (1, 2):
        raise BadRequest(
            "The NPY file has {axes} axes; points need two: rows and columns.", axes=array.ndim
        )
    table = array.reshape(len(array), -1) if array.size else array.reshape(0, 1)
    if table.shape[1] > MAX_COLUMNS:
        raise too_many_columns(table.shape[1])
    return table


def npy_chunks(
    path: Path, names: Sequence[str], stop: threading.Event | None = None
) -> Iterator[pd.DataFrame]:
    """The rows of the columns ``names``, which are "column 1" …; raises as :func:`open_npy`."""
    import pandas as pd

    array = open_npy(path)
    columns = [int(name.removeprefix("column ")) - 1 for name in names]
    size = max(1, CHUNK_CELLS // array.shape[1])
    for start in range(0, len(array), size):
        if stop is not None and stop.is_set():
            raise Stopped
        rows = np.asarray(array[start : start + size])[:, columns]
        # Numbers of the other byte order are none that pandas knows.
        kind = np.uint8 if rows.dtype.kind == "b" else rows.dtype.newbyteorder("=")
        yield pd.DataFrame(rows.astype(kind), columns=list(names))


def _damaged(kind: str) -> BadRequest:
    """What the libraries say of damage names their own parts; it is the error's cause."""
    return BadRequest(
        "The {kind} file is damaged or cut off. Send the whole file.",
        kind=kind,
    )
