"""A grid's pictures on one sheet, with what its rows, columns and cells are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from pipelines.core.pictures.contact_sheet import labelled_grid
from pipelines.grids.cells import Cell

MAX_PIXELS = 100_000_000  # of a sheet: a larger one is made smaller
_PALE, _INK = (238, 236, 232), (110, 30, 20)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a cell.

    Attributes:
        image: the picture; None where there is none.
        reason: why there is none.
        seconds: it took.
        right, asked: how much of what the prompt asks for the judge sees, and of how much; 0 of 0
            where nothing can be judged.
    """

    image: Image.Image | None
    reason: str = ""
    seconds: float = 0.0
    right: int = 0
    asked: int = 0


def draw_sheet(
    outcomes: Mapping[tuple[int, int, int], Outcome], cells: Sequence[Cell]
) -> Image.Image:
    """All pictures: X from left to right, Y from top to bottom, Z in blocks of rows.

    Labels of rows and columns say besides which share of what the prompts ask for is right in them.
    """
    columns = sorted({place[0] for place in outcomes})
    rows = sorted({(place[2], place[1]) for place in outcomes})
    named = {cell.place: cell.values for cell in cells}
    pictures = [each.image for each in outcomes.values() if each.image is not None]
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures)
    shrink = min(1.0, (MAX_PIXELS / (width * height * len(outcomes))) ** 0.5)
    size = (max(1, int(width * shrink)), max(1, int(height * shrink)))

    def row(z: int, y: int) -> list[Outcome]:
        return [outcomes[x, y, z] for x in columns]

    def row_label(z: int, y: int) -> str:
        return "\n".join(reversed(named[columns[0], y, z][1:])) + _share(row(z, y))

    return labelled_grid(
        rows=[row_label(*each) or " " for each in rows],
        columns=[
            named[x, rows[0][1], rows[0][0]][0] + _share([row(*each)[x] for each in rows])
            for x in columns
        ],
        cells=[[_fit(each, size) for each in row(*numbers)] for numbers in rows],
        captions=[[_caption(each) for each in row(*numbers)] for numbers in rows],
    )


def _fit(outcome: Outcome, size: tuple[int, int]) -> Image.Image:
    """A picture in the middle of a cell, or why there is none."""
    cell = Image.new("RGB", size, _PALE)
    if outcome.image is None:
        font = ImageFont.load_default(max(10, size[0] // 14))
        lines, line = [], ""
        for word in outcome.reason.split():
            if line and font.getlength(f"{line} {word}") > size[0] * 0.9:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}".strip()
        text = "\n".join([*lines, line])
        ImageDraw.Draw(cell).multiline_text((size[0] // 20, size[1] // 20), text, _INK, font)
        return cell
    picture = outcome.image
    if picture.width > size[0] or picture.height > size[1]:
        picture = picture.copy()
        picture.thumbnail(size, Image.Resampling.LANCZOS)
    cell.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return cell


def _caption(outcome: Outcome) -> str:
    if outcome.image is None:
        return ""
    seconds = f"{outcome.seconds:.2f} s"
    return f"{seconds}, {outcome.right} of {outcome.asked}" if outcome.asked else seconds


def _share(outcomes: Sequence[Outcome]) -> str:
    """`` (83 %)`` of what was asked for is right; "" where nothing can be judged."""
    asked = sum(each.asked for each in outcomes)
    return f" ({100 * sum(each.right for each in outcomes) / asked:.0f} %)" if asked else ""
