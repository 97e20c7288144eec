"""From the columns of a table to points."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pipelines.clustering.data.numerals import Marks
from pipelines.clustering.data.profile import PLAIN, Column, numbers_of
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.data.tables import Table, frames
from pipelines.clustering.data.true_labels import UNKNOWN, TrueLabels
from pipelines.clustering.wire import Rows, UnreadableAnswer
from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message

MAX_CELLS = 50_000_000  # numbers in X: 400 MB
MAX_LEVELS = 100


class ColumnChoice(StrictModel):
    """Which columns of a table become coordinates, and how."""

    columns: Annotated[
        tuple[Annotated[str, Field(max_length=10_000)], ...],
        Field(
            min_length=1,
            max_length=1000,
            title="Columns",
            description="What the points are made of. Texts cannot be.",
        ),
    ]
    as_categories: Annotated[
        tuple[Annotated[str, Field(max_length=10_000)], ...],
        Field(
            max_length=1000,
            title="Numbers that are codes",
            description="Columns of numbers that stand for categories, such as postcodes.",
        ),
    ] = ()
    missing: Annotated[
        Literal["drop", "mean", "median"],
        Field(
            title="Missing values",
            description="Leave such rows out, or put the column's mean or median there.",
        ),
    ] = "drop"
    max_levels: Annotated[
        int,
        Field(
            ge=2,
            le=MAX_LEVELS,
            title="Most categories",
            description="A category becomes one column of 0 and 1 for each of its values; at most "
            "so many.",
        ),
    ] = 20
    truth: Annotated[
        str | None,
        Field(
            max_length=10_000,
            title="True labels",
            description="The column with the class of each row, if it is known: at most 100 "
            "different texts, numbers or booleans. It is never clustered on: the clusters are "
            "compared with it. Rows without a label are clustered, but not compared.",
        ),
    ] = None


@dataclass(frozen=True, slots=True, eq=False)
class TablePoints:
    """Points from a table.

    Attributes:
        data: X and its columns, a category's are called "colour=red"; and the true labels.
        rows: (n,) int64 row of the table, from 0, of each point.
        notes: what was left out or filled in.
    """

    data: Dataset
    rows: Rows
    notes: tuple[Message, ...]

    def check(self, X: np.ndarray) -> None:
        """Whether the parts go together; raises as :meth:`Dataset.check`.

        Args:
            X: not looked at: these points come from a table.
        """
        self.data.check()
        if len(self.rows) != len(self.data.X) or self.rows.min(initial=0) < 0:
            raise UnreadableAnswer("there are other rows than points")


def pick(table: Table, picking: ColumnChoice, stop: threading.Event | None = None) -> TablePoints:
    """X from the columns of ``table``. O(rows · columns) time; memory of X twice while rows drop.

    A category of two values becomes one column (of the second, in order of the alphabet), others
    one for each value. Where rows with missing values are kept, a missing category is a value of
    its own, "(missing)". Infinite and unreadable numbers are missing ones. A row without a true
    label is kept.

    Raises:
        BadRequest: a column that there is not, is text, empty or twice; too many categories or
            classes; true labels among the columns; too many cells; no rows left.
        Stopped: ``stop`` was set.
    """
    chosen = _choose_columns(table, picking)
    categories = [
        column.name
        for column in chosen
        if column.kind == "category" or column.name in picking.as_categories
    ]
    numbers = [column.name for column in chosen if column.name not in categories]
    _check_cells(table.rows, len(chosen))
    measured = np.empty((table.rows, len(numbers)))
    codes = np.empty((table.rows, len(categories)), dtype=np.int32)
    levels: dict[str, dict[str, int]] = {name: {} for name in categories}
    marks = table.layout.marks if table.layout else PLAIN
    end = 0
    labels = _true_labels(table, picking, marks)
    truth = np.empty(table.rows if labels else 0, dtype=np.int32)
    texts = [*categories, *([picking.truth] if labels else [])]
    for chunk in frames(table, [*numbers, *texts], stop=stop):
        start, end = end, end + len(chunk)
        for index, name in enumerate(numbers):
            measured[start:end, index] = numbers_of(chunk[name], marks)[0]
        for index, name in enumerate(categories):
            codes[start:end, index] = _encode(chunk[name], levels[name], picking, name)
        if labels:
            truth[start:end] = labels.add(chunk[picking.truth])
    measured[np.isinf(measured)] = np.nan
    notes: list[Message] = []
    holes = [(name, np.isnan(column)) for name, column in zip(numbers, measured.T, strict=True)]
    holes += [(name, column < 0) for name, column in zip(categories, codes.T, strict=True)]
    rows = np.arange(table.rows)
    if picking.missing == "drop":
        rows = _complete(rows, holes, notes)
        measured, codes = measured[rows], codes[rows]
    else:
        _fill(measured, numbers, picking.missing, notes)
    used = _levels_in_use(codes, levels)
    # Before they are there: fifty categories of a hundred values would fill any memory.
    _check_cells(len(rows), len(numbers) + sum(map(len, used.values())))
    hot, hot_names = _one_hot(codes, used)
    blocks = dict(zip(numbers, measured.T[:, :, None], strict=True)) | hot
    names = {name: (name,) for name in numbers} | hot_names
    order = [column.name for column in chosen]  # as they were picked
    X = np.ascontiguousarray(np.hstack([blocks[name] for name in order]), dtype=np.float64)
    columns = tuple(each for name in order for each in names[name])
    classes = None
    if labels:
        truth, classes = labels.settle(truth[rows])
        notes += _notes_on_truth(truth, classes, picking.truth)
    data = Dataset(X, truth if labels else None, columns, "Table", classes)
    return TablePoints(data, rows, tuple(notes))


def _true_labels(table: Table, picking: ColumnChoice, marks: Marks) -> TrueLabels | None:
    name = picking.truth
    if name is None:
        return None
    if name in picking.columns:
        raise BadRequest(
            "The column {name} has the true labels, which are never clustered on. Take it out of "
            "the columns, or name other true labels.",
            name=repr(name[:60]),
        )
    return TrueLabels(next(each for each in table.columns if each.name == name), marks)


def _notes_on_truth(truth: np.ndarray, classes: tuple[str, ...], name: str) -> list[Message]:
    notes = [
        Message(
            "{name} has the true labels, of {count} classes.",
            name=repr(name[:60]),
            count=len(classes),
        )
    ]
    if without := int(np.count_nonzero(truth == UNKNOWN)):
        notes.append(
            Message(
                "{count} of {rows} points have no true label: they are clustered like the others, "
                "but do not count when the clusters are compared with the labels.",
                count=f"{without:,}",
                rows=f"{len(truth):,}",
            )
        )
    return notes


def _choose_columns(table: Table, picking: ColumnChoice) -> list[Column]:
    known = {column.name: column for column in table.columns}
    truth = () if picking.truth is None else (picking.truth,)
    for name in (*picking.columns, *picking.as_categories, *truth):
        if name not in known:
            raise BadRequest("The table has no column {name}.", name=repr(name[:60]))
    if len(set(picking.columns)) < len(picking.columns):
        name = next(name for name in picking.columns if picking.columns.count(name) > 1)
        raise BadRequest("The column {name} is chosen twice.", name=repr(name[:60]))
    chosen = [known[name] for name in picking.columns]
    of_texts = [each for each in chosen if each.kind == "text" or _is_of_texts(each)]
    of_texts = [each for each in of_texts if each.name not in picking.as_categories]
    if of_texts:
        raise BadRequest(
            "{names} hold texts or dates (such as {example}), from which no distance can be "
            "computed. Choose columns of numbers or categories.",
            names=", ".join(repr(each.name[:60]) for each in of_texts[:5]),
            example=repr(of_texts[0].example),
        )
    for each in (*chosen, *(known[name] for name in truth)):
        if each.kind == "empty":
            raise BadRequest("The column {name} has no values.", name=repr(each.name[:60]))
    return chosen


def _is_of_texts(column: Column) -> bool:
    return column.kind in ("id", "constant") and column.least is None


def _check_cells(rows: int, columns: int) -> None:
    if rows * columns > MAX_CELLS:
        raise BadRequest(
            "{rows} rows of {columns} columns are {cells} million numbers; at most {limit} "
            "million are taken. Choose fewer columns, or send fewer rows.",
            rows=f"{rows:,}",
            columns=f"{columns:,}",
            cells=rows * columns // 1_000_000,
            limit=MAX_CELLS // 1_000_000,
        )


def _encode(series, levels: dict[str, int], picking: ColumnChoice, name: str) -> np.ndarray:
    """(n,) int32 numbers of the texts, in order of their first appearance; −1 is missing."""
    import pandas as pd

    codes, different = pd.factorize(series)
    for each in different:
        levels.setdefault(str(each), len(levels))
    if len(levels) > picking.max_levels:
        raise BadRequest(
            "The column {name} has more than {limit} categories ({examples} …). Raise the limit "
            "or leave it out.",
            name=repr(name[:60]),
            limit=picking.max_levels,
            examples=", ".join(repr(text[:20]) for text in list(levels)[:3]),
        )
    table = np.array([*(levels[str(each)] for each in different), -1], dtype=np.int32)
    return table[codes]  # a missing one is −1, the last


def _complete(
    rows: np.ndarray, holes: list[tuple[str, np.ndarray]], notes: list[Message]
) -> np.ndarray:
    """The rows without holes."""
    counts = {name: int(hole.sum()) for name, hole in holes}
    kept = rows[~np.logical_or.reduce([hole for _, hole in holes])]
    if not len(kept):
        worst = max(counts, key=counts.__getitem__)
        raise BadRequest(
            "No row has a value in every chosen column; {name} lacks {count} of {rows}. Leave "
            "that column out, or fill in the mean or median.",
            name=repr(worst[:60]),
            count=f"{counts[worst]:,}",
            rows=f"{len(rows):,}",
        )
    if len(kept) < len(rows):
        notes.append(
            Message(
                "{count} of {rows} rows were left out: values are missing in {names}.",
                count=f"{len(rows) - len(kept):,}",
                rows=f"{len(rows):,}",
                names=_list_names(counts),
            )
        )
    return kept


def _fill(measured: np.ndarray, names: list[str], how: str, notes: list[Message]) -> None:
    """Puts each column's mean or median where it has NaN; changes ``measured``, which is ours."""
    counts = dict(zip(names, np.isnan(measured).sum(axis=0).tolist(), strict=True))
    for index, name in enumerate(names):
        column = measured[:, index]
        if counts[name]:
            column[np.isnan(column)] = np.nanmean(column) if how == "mean" else np.nanmedian(column)
    if total := sum(counts.values()):
        template = (
            "{count} missing values were filled with the mean of their column ({names})."
            if how == "mean"
            else "{count} missing values were filled with the median of their column ({names})."
        )
        notes.append(Message(template, count=f"{total:,}", names=_list_names(counts)))


def _list_names(counts: dict[str, int]) -> str:
    named = [repr(name[:60]) for name, count in counts.items() if count]
    return ", ".join(named[:5]) + (" …" if len(named) > 5 else "")


def _levels_in_use(
    codes: np.ndarray, levels: dict[str, dict[str, int]]
) -> dict[str, list[tuple[str, int]]]:
    """For each category the values that become columns, with their codes."""
    used = {}
    for column, (name, known) in zip(codes.T, levels.items(), strict=True):
        present = set(np.unique(column).tolist())  # levels of dropped rows are none any more
        entries = sorted((text, code) for text, code in known.items() if code in present)
        if -1 in present:
            entries.append(("(missing)", -1))
        used[name] = entries[1:] if len(entries) == 2 else entries
    return used


def _one_hot(
    codes: np.ndarray, used: dict[str, list[tuple[str, int]]]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """For each category (n, l) float64 of 0 and 1, and its columns' names."""
    hot, names = {}, {}
    for column, (name, entries) in zip(codes.T, used.items(), strict=True):
        hot[name] = (column[:, None] == [code for _, code in entries]).astype(np.float64)
        names[name] = tuple(f"{name}={text}" for text, _ in entries)
    return hot, names
