"""What can be asked of a grid: a request to paint, and up to three axes of its settings.

No torch here: the page reads these models before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from pipelines.core.engine import Request, Use
from pipelines.core.errors import UserError
from pipelines.diffusion.control.requests import ControlRequest
from pipelines.diffusion.lora.use import LoraUse, library_uses
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.grids.cells import Axis, Cell, plan


def _kind(base: Any) -> str:
    units = base.get("units") if isinstance(base, dict) else getattr(base, "units", None)
    return "steered" if units else "words"


Base = Annotated[
    Annotated[TextToImageRequest, Tag("words")] | Annotated[ControlRequest, Tag("steered")],
    Discriminator(_kind),
]


class GridRequest(Request):
    """One request painted with several values of some of its settings.

    Attributes:
        loras: all that cells name, with their ids.
        models: names of models as they are written → as the catalog has them.
    """

    base: Annotated[Base, Field(title="Settings", description="All that the axes leave as it is.")]
    x: Annotated[Axis, Field(title="Columns", description="The axis from left to right.")]
    y: Annotated[Axis | None, Field(title="Rows", description="The axis from top to bottom.")] = (
        None
    )
    z: Annotated[Axis | None, Field(title="Blocks", description="The axis of blocks of rows.")] = (
        None
    )
    # Filled in by the studio; a client's own are never believed.
    loras: tuple[LoraUse, ...] = ()
    models: dict[str, str] = Field(default_factory=dict)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """X, Y and Z, those that there are."""
        return tuple(axis for axis in (self.x, self.y, self.z) if axis is not None)

    def cells(self) -> list[Cell]:
        """What is painted, in that order; raises BadRequest as :func:`plan` does."""
        return plan(self.base, self.axes, self.loras, self.models)

    def uses(self) -> Iterator[Use]:
        yield from self.base.uses()
        yield from library_uses(None, self.loras)
        try:
            cells = self.cells()
        except UserError:  # one that an earlier version has stored
            return
        for cell in cells:
            yield from cell.request.uses()


class CompareSamplersRequest(Request):
    """One prompt and seed, painted by several samplers at several step counts."""

    base: Annotated[
        TextToImageRequest,
        Field(title="Settings", description="All settings but sampler and steps."),
    ]
    samplers: Annotated[
        tuple[Annotated[str, Field(max_length=100)], ...],
        Field(min_length=1, max_length=12, title="Samplers", description="One row each."),
    ]
    steps: Annotated[
        tuple[Annotated[int, Field(ge=1, le=150)], ...],
        Field(min_length=1, max_length=6, title="Step counts", description="One column each."),
    ]

    def uses(self) -> Iterator[Use]:
        return self.base.uses()

    def as_grid(self) -> GridRequest:
        """The same, asked of a grid."""
        return GridRequest(
            base=self.base,
            x=Axis(field="steps", values=", ".join(map(str, self.steps))),
            y=Axis(field="sampler", values=", ".join(f'"{name}"' for name in self.samplers)),
        )
