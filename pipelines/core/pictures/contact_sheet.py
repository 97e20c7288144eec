"""Several pictures in one: plain tiles for previews, labelled rows and columns for comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_BACKGROUND, _INK, _PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)
_LAST_LATIN = 0x24F
_WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSerifCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "PingFang.ttc",
    "msyh.ttc",
)


def tile(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size in rows, as square as they go; a single one stays as it is."""
    if len(images) == 1:
        return images[0]
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * width, rows * height), _BACKGROUND)
    for index, image in enumerate(images):
        sheet.paste(image, (index % columns * width, index // columns * height))
    return sheet


def labelled_grid(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[Image.Image]],
    captions: Sequence[Sequence[str]],
) -> Image.Image:
    """A sheet with a label for each row and column and a caption under each picture.

    Args:
        rows: labels at the left, broken into lines where they are too wide.
        columns: labels at the top, broken likewise.
        cells: ``cells[row][column]``, all of one size.
        captions: as ``cells``.
    """
    width, height = cells[0][0].size
    size = max(12, min(width, height) // 16)
    font = _font(size, "".join([*rows, *columns]))
    small = ImageFont.load_default(max(10, size * 3 // 4))
    gap = size // 2
    lines = [line for row in rows for line in row.split("\n")]
    widest = math.ceil(max(font.getlength(line) for line in lines))
    margin = max(8 * size, min(16 * size, widest + 2 * gap))
    heads = [_break_lines(label, font, width) for label in columns]
    head = size + math.ceil(1.3 * size * max(text.count("\n") + 1 for text in heads))
    foot = 2 * size
    sheet = Image.new(
        "RGB",
        (margin + len(columns) * (width + gap), head + len(rows) * (height + foot)),
        _BACKGROUND,
    )
    draw = ImageDraw.Draw(sheet)
    for x, text in enumerate(heads):
        centre = margin + x * (width + gap) + width // 2
        draw.multiline_text((centre, head // 2), text, _INK, font, anchor="mm", align="center")
    for y, label in enumerate(rows):
        top = head + y * (height + foot)
        text = _break_lines(label, font, margin - 2 * gap)
        draw.multiline_text((gap, top + height // 2), text, _INK, font, anchor="lm")
        for x, (image, caption) in enumerate(zip(cells[y], captions[y], strict=True)):
            left = margin + x * (width + gap)
            sheet.paste(image, (left, top))
            draw.text((left + width // 2, top + height + foot // 2), caption, _PALE, small, "mm")
    return sheet


def _font(size: int, text: str) -> ImageFont.FreeTypeFont:
    """Pillow's own font or, for scripts that it lacks, one of the system's that has them."""
    if any(ord(letter) > _LAST_LATIN for letter in text):
        for name in _WIDE_FONTS:
            try:
                return ImageFont.truetype(name, size)
            except OSError:  # not on this system
                continue
    return ImageFont.load_default(size)


def _break_lines(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """``text`` in lines no wider than ``width``, broken at spaces, else anywhere (Chinese)."""
    if "\n" in text:
        return "\n".join(_break_lines(line, font, width) for line in text.split("\n"))
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return "\n".join(lines)
