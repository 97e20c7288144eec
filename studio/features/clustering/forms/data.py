"""The clustering tab's data: made, drawn, of a table, of a picture's colours, of the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.clustering.data.columns import ColumnChoice
from pipelines.clustering.data.sample_data import MAX_POINTS, SOURCES, DatasetRequest
from pipelines.core.errors import BadRequest, UserError
from pipelines.core.messages import Message
from studio.features.clustering.data.api import table_json
from studio.features.clustering.data.views import table_preview
from studio.features.clustering.forms.csv_dialect import (
    OUTPUTS,
    ReadingForm,
    parse_reading,
    reading_updates,
)
from studio.page import views
from studio.page.components.canvas import canvas, picture_on
from studio.page.components.typed_slider import typed_slider
from studio.page.widgets import QUIET, Visitor, follow_newest, from_field, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.features.clustering.data.own_data_sets import Known
    from studio.features.clustering.data.tables import KnownTable

MADE, DRAWN, TABLE, PICTURE, GALLERY = "made", "drawn", "table", "picture", "gallery"
KINDS = {
    MADE: "Made",
    DRAWN: "Draw points",
    TABLE: "Table",
    PICTURE: "Picture",
    GALLERY: "Gallery",
}
MISSING = {"drop": "Leave the rows out", "mean": "The column's mean", "median": "The median"}
PROPOSED_COLUMNS = 12  # of a wide table; more can be chosen
_MADE = ("name", "points", "noise", "clusters", "seed")
# Where a slider begins, where it ends, its step: None is by powers of ten.
_SLIDES = {"points": (10, MAX_POINTS, None), "noise": (0, 0.5, 0.01), "clusters": (1, 12, 1),
           "seed": (0, 100, 1)}  # fmt: skip
UNKNOWN = ""  # in place of a column of true labels
_PICKED = ("columns", "truth", "as_categories", "missing", "max_levels")


class DataForm:
    """Draws the controls of the data and makes the data set that they describe.

    Attributes:
        kind: where the data come from.
        drawn: state with the points that were drawn.
        said: what the data set is, or why there is none.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def draw(self) -> None:
        self.kind = gr.Radio(
            [(label(title), name) for name, title in KINDS.items()],
            value=MADE,
            label=label("Data"),
            elem_id="cluster-kind",
        )
        self.drawn, self._table = gr.State(()), gr.State(None)
        self._groups: dict[str, gr.Column] = {}
        with self._group(MADE):
            self._made = self._draw_made()
        with self._group(DRAWN):
            gr.HTML(
                label("Draw in the picture: click or drag to add points, erase with the eraser."),
                elem_classes="summary",
            )
        with self._group(TABLE):
            self._picked = self._draw_table()
        with self._group(PICTURE):
            self._picture = canvas("cluster-picture")
        with self._group(GALLERY):
            gr.HTML(
                label(
                    "Pictures that look alike lie near one another. The first time, each is looked "
                    "at by a small network, which takes a moment."
                ),
                elem_classes="summary",
            )
        self.said = gr.HTML(elem_id="cluster-data-said")

    def _group(self, kind: str) -> gr.Column:
        self._groups[kind] = gr.Column(visible=kind == MADE, elem_id=f"cluster-of-{kind}")
        return self._groups[kind]

    def _draw_made(self) -> dict[str, gr.components.Component]:
        titles = [(label(source.title), name) for name, source in SOURCES.items()]
        drawn = {
            "name": from_field(
                DatasetRequest, "name", kind=gr.Dropdown, choices=titles, info=None,
                elem_id="cluster-data-name",
            )
        }  # fmt: skip
        for name, slides in _SLIDES.items():
            drawn[name] = typed_slider(
                DatasetRequest, name, *slides, elem_id=f"cluster-data-{name}"
            )
        return {name: drawn[name] for name in _MADE}

    def _draw_table(self) -> dict[str, gr.components.Component]:
        self._file = gr.File(
            label=label("CSV, TSV, Parquet or NPY"),
            type="filepath",
            height=120,
            elem_id="cluster-file",
        )
        several = {"kind": gr.Dropdown, "multiselect": True, "choices": [], "value": []}
        drawn = {
            "columns": self._column_control("columns", **several),
            "truth": self._column_control(
                "truth", kind=gr.Dropdown, choices=[(label("Not known"), UNKNOWN)], value=UNKNOWN
            ),
        }
        with gr.Accordion(label("Missing values and categories"), open=False):
            ways = [(label(title), name) for name, title in MISSING.items()]
            drawn["as_categories"] = self._column_control("as_categories", **several)
            drawn["missing"] = self._column_control("missing", kind=gr.Dropdown, choices=ways)
            drawn["max_levels"] = self._column_control("max_levels")
        self.reading = ReadingForm()
        self._preview = gr.HTML(elem_id="cluster-preview")
        return drawn

    @staticmethod
    def _column_control(name: str, **options: Any) -> gr.components.Component:
        elem_id = f"cluster-{name.replace('_', '-')}"
        return from_field(ColumnChoice, name, **{"elem_id": elem_id, **options})

    # --- what the controls say --------------------------------------------------------------

    @property
    def inputs(self) -> list[Any]:
        """What :meth:`make` takes the values of."""
        controls = [*self._made.values(), *self._picked.values()]
        return [self.kind, *controls, self._table, self._picture, self.drawn]

    @property
    def outputs(self) -> list[Any]:
        """What :meth:`fill` updates."""
        return [*self.inputs, *self._groups.values(), self._preview, *self.reading.outputs]

    def make(self, values: list[Any], visitor: Visitor) -> Known | None:
        """The data set of the controls' values; None while they do not describe one yet.

        Raises:
            UserError: there is none; the sentence says why.
        """
        source = self._source(values)
        return self.studio.cluster_data.make(visitor.owner, source) if source else None

    def _source(self, values: list[Any]) -> dict[str, Any] | None:
        kind, *rest = values
        made, rest = rest[: len(_MADE)], rest[len(_MADE) :]
        picked, (table, picture, drawn) = rest[: len(_PICKED)], rest[len(_PICKED) :]
        if kind == MADE:
            given = zip(_MADE, made, strict=True)
            return {"kind": MADE} | {name: each for name, each in given if each is not None}
        if kind == DRAWN:
            return {"kind": DRAWN, "points": drawn} if drawn else None
        if kind == TABLE:
            fields = dict(zip(_PICKED, picked, strict=True))
            if table is None:
                return None
            fields["truth"] = fields["truth"] or None
            if not fields["columns"]:
                raise BadRequest("No column is chosen. Choose those that make the points.")
            fields["as_categories"] = fields["as_categories"] or []
            return {"kind": TABLE, "table": table, "picking": fields}
        if kind == PICTURE:
            id = picture_on(picture)
            return {"kind": PICTURE, "picture": id} if id else None
        return {"kind": GALLERY}

    def about(self, known: Known | None, kind: str, visitor: Visitor) -> str:
        """What the data set is, or what to do so that there is one."""
        if known is None:
            todo = {
                DRAWN: "No points yet: draw some in the picture.",
                TABLE: "No table yet: bring in a CSV, TSV, Parquet or NPY file.",
                PICTURE: "No picture yet: drop one here, or draw.",
            }
            return views.summary([todo[kind]] if kind in todo else [], visitor)
        size = Message(
            "{title}: {points} points, {columns} columns.",
            title=visitor.say(known.title),
            points=f"{known.points:,}",
            columns=len(known.columns),
        )
        return views.summary([size, *known.notes], visitor)

    def fill(
        self,
        source: Mapping[str, Any],
        visitor: Visitor,
        drawn: tuple[tuple[float, ...], ...] | None = None,
    ) -> list[Any]:
        """Updates of :attr:`outputs` that show where a data set comes from.

        What is no longer there leaves its controls as they are.

        Args:
            drawn: the points, if they were drawn; ``source`` has none.
        """
        kind = source.get("kind", MADE)
        skip = gr.skip()
        made = [skip] * len(_MADE)
        if kind == MADE:
            used = [gr.skip(), *_visible_fields(source["name"])]
            made = [{**each, "value": source[n]} for n, each in zip(_MADE, used, strict=True)]
        picked, table, preview = [skip] * len(_PICKED), skip, skip
        reading = [skip] * OUTPUTS
        if kind == TABLE:
            try:
                known = self.studio.cluster_data.table(visitor.owner.id, source["table"])
            except UserError:
                table = None
            else:
                picking = source["picking"]
                picked = self._of_table(known, picking, visitor)
                table = known.id
                preview = _preview(known, visitor, picking["columns"], picking.get("truth"))
                reading = reading_updates(known.table, visitor)
        picture = gr.update(value=source["picture"]) if kind == PICTURE else skip
        points = skip if drawn is None else drawn
        shown = [gr.update(visible=name == kind) for name in self._groups]
        return [kind, *made, *picked, table, picture, points, *shown, preview, *reading]

    # --- events -----------------------------------------------------------------------------

    def listen(self) -> list[gr.events.Dependency | Any]:
        """Connect the controls with one another.

        Returns:
            The moments after which the data are others.
        """
        turned = self.kind.input(
            lambda kind: [gr.update(visible=name == kind) for name in self._groups],
            self.kind,
            list(self._groups.values()),
            **QUIET,
        )
        of_formula = [self._made[name] for name in _MADE[1:]]
        self._made["name"].input(_visible_fields, self._made["name"], of_formula, **QUIET)
        outputs = [*self._picked.values(), self._table, self._preview, self.said,
                   *self.reading.outputs]  # fmt: skip
        brought = self._file.upload(self._bring, self._file, [self._file, *outputs], **QUIET)
        picked = self._picked
        marked = [self._table, picked["columns"], picked["truth"]]
        follow_newest([picked["columns"].input], self._mark, marked, self._preview)
        # Before the data are made: clustered on the true labels, they would be refused.
        several = [picked["columns"], picked["as_categories"]]
        named = follow_newest(
            [picked["truth"].input], self._name,
            [self._table, *several, picked["truth"]], [*several, self._preview],
        )  # fmt: skip
        reread = follow_newest(
            [each.input for each in self.reading.controls], self._reread,
            [self._table, *self.reading.controls], outputs,
        )  # fmt: skip
        made = self._made
        self.settled = [turned, brought, named, reread]
        return [
            made["name"].input,
            *(made[name].release for name in _SLIDES),
            *(picked[n].input for n in ("columns", "as_categories", "missing")),
            picked["max_levels"].release,
            self._picture.input,
        ]  # fmt: skip

    def _bring(self, path: str | None, request: gr.Request) -> list[Any]:
        """An uploaded table: looked at, kept, its columns offered."""
        visitor = Visitor.of(request)
        try:
            if path is None:
                raise BadRequest("Choose a file first.")
            known = self.studio.cluster_data.tables.bring(
                visitor.owner.id, Path(path), Path(path).name
            )
        except UserError as error:
            return [None, *self._not_read(error, visitor)]
        return [None, *self._read(known, visitor)]

    def _reread(self, table: str | None, request: gr.Request, *values: str | None) -> list[Any]:
        """The same table, read as the controls say; what it was before stays where that fails."""
        visitor = Visitor.of(request)
        try:
            known = self.studio.cluster_data.tables.read_again(
                visitor.owner.id, str(table), parse_reading(values)
            )
        except UserError as error:
            return self._not_read(error, visitor)
        return self._read(known, visitor)

    def _read(self, known: KnownTable, visitor: Visitor) -> list[Any]:
        picking = {"columns": _propose(known), "truth": known.table.suggest_truth()}
        preview = _preview(known, visitor, **picking)
        picked = self._of_table(known, picking, visitor)
        return [*picked, known.id, preview, "", *reading_updates(known.table, visitor)]

    def _not_read(self, error: UserError, visitor: Visitor) -> list[Any]:
        left = [gr.skip()] * (len(_PICKED) + 2)
        reading = [gr.skip()] * OUTPUTS
        return [*left, views.error(error.message, visitor), *reading]

    def _mark(self, table: str | None, columns: list[str], truth: str, request: gr.Request) -> Any:
        """The preview, with the columns that are chosen now."""
        visitor = Visitor.of(request)
        try:
            known = self.studio.cluster_data.table(visitor.owner.id, str(table))
        except UserError:  # there is none, or it was deleted since
            return gr.skip()
        return _preview(known, visitor, columns, truth or None)

    def _name(
        self,
        table: str | None,
        columns: list[str],
        codes: list[str],
        truth: str,
        request: gr.Request,
    ) -> list[Any]:
        """The column of the true labels is none to cluster on any more."""
        left, codes = _without(columns or (), truth), _without(codes or (), truth)
        preview = self._mark(table, left, truth, request)
        return [gr.update(value=left), gr.update(value=codes), preview]

    @staticmethod
    def _of_table(
        known: KnownTable, picking: Mapping[str, Any], visitor: Visitor
    ) -> list[dict[str, Any]]:
        """Updates of the controls that pick: the columns that there are, and the chosen ones."""
        columns, truth = known.table.columns, picking.get("truth")
        usable = [each.name for each in columns if each.kind not in ("text", "empty")]
        filled = [each.name for each in columns if each.kind != "empty"]
        named = [(visitor.say("Not known"), UNKNOWN), *((name, name) for name in filled)]
        several = [
            gr.update(choices=usable, value=_without(picking.get(name, ()), truth))
            for name in ("columns", "as_categories")
        ]
        return [
            several[0],
            gr.update(choices=named, value=truth or UNKNOWN),
            several[1],
            *(gr.update(value=picking[n]) if n in picking else gr.skip() for n in _PICKED[3:]),
        ]


def _preview(known: KnownTable, visitor: Visitor, columns: Sequence[str], truth: str | None) -> str:
    """The table's first rows; the columns that are clustered on and the true labels are marked."""
    return table_preview(table_json(known, visitor.language), visitor, columns, truth)


def _without(names: Sequence[str], one: str | None) -> list[str]:
    return [name for name in names if name != one]


def _propose(known: KnownTable) -> list[str]:
    return list(known.table.suggest_columns()[:PROPOSED_COLUMNS])


def _visible_fields(name: str | None) -> list[dict[str, Any]]:
    """Which of points, noise, clusters and seed change a data set; the others are hidden."""
    return [gr.update(visible=name in SOURCES and each in SOURCES[name].uses) for each in _MADE[1:]]
