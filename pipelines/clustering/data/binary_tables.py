"""Tables as Parquet and NPY, read in chunks. Nothing is ever unpickled.

What a Parquet file says of its own size nobody needs to believe: a few bytes may unfold into
gigabytes. Files of strangers are therefore read in :mod:`pipelines.clustering.worker`, whose memory
is limited; where that does not suffice, :class:`MemoryError` is raised, or the process ends.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.clustering.data.csv_dialect import MAX_COLUMNS, too_many_columns, unique
from pipelines.clustering.data.delimited import CHUNK_CELLS
from pipelines.core.errors import BadRequest, Stopped, Unavailable

if TYPE_CHECKING:
    import pandas as pd

_DIFFERENCES = {"DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"}  # encodings


def open_parquet(path: Path) -> Any:
    """pyarrow's ``ParquetFile``; texts stay dictionaries where it can keep them so: those that
    repeat take little memory.

    Raises:
        Unavailable: pyarrow is not installed.
        BadRequest: damaged, or it has too many columns.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise Unavailable(
            "Parquet files are read by pyarrow, which is not installed here "
            "(pip install pyarrow). Save the table as CSV and send that."
        ) from None
    try:
        metadata = parquet.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        file = parquet.ParquetFile(path, metadata=metadata, read_dictionary=_texts(metadata))
    except MemoryError:  # pyarrow's is one of its ArrowExceptions too
        raise
    except (ArrowException, OSError, ValueError) as error:
        raise _damage_error("Parquet") from error
    if twice := [name for name, count in Counter(schema.names).items() if count > 1]:
        raise BadRequest(
            "The Parquet file has two columns called {name}. Rename one of them.",
            name=repr(twice[0][:60]),
        )
    if len(schema) > MAX_COLUMNS:
        raise too_many_columns(len(schema))
    return file


def _texts(metadata: Any) -> list[str]:
    """The columns of texts, of a ``FileMetaData``, but those that pyarrow cannot read as
    dictionaries: what is packed as differences."""
    schema = metadata.schema.to_arrow_schema()
    texts = {each.name for each in schema if str(each.type) in ("string", "large_string")}
    for number in range(metadata.num_row_groups if texts else 0):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            if column.path_in_schema in texts and not _DIFFERENCES.isdisjoint(column.encodings):
                texts.remove(column.path_in_schema)
    return sorted(texts)


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
                batch.validate(full=True)
                yield batch.to_pandas(date_as_object=False).set_axis(list(names), axis=1)
        except MemoryError:
            raise
        except (ArrowException, OSError, ValueError) as error:
            raise _damage_error("Parquet") from error


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
        raise _damage_error("NPY") from error
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


def _damage_error(kind: str) -> BadRequest:
    """What the libraries say of damage names their own parts; it is the error's cause."""
    return BadRequest(
        "The {kind} file is damaged or cut off. Send the whole file.",
        kind=kind,
    )
