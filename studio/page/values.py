"""What the page's script sends to an event, checked before anything is done with it.

Whoever may use the page can send its events anything. Each kind of control holds values of one
type, and a file is one that its sender has uploaded: Gradio itself lets the visitors of a mounted
page name any file of the server.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client.utils import is_file_obj_with_meta

from pipelines.core.errors import BadRequest, Refused
from pipelines.core.messages import Message
from studio.core.replies import not_of_the_page

MAX_DEPTH = 50  # of lists in lists; no control holds more than three
SHOWN_CHARACTERS = 60


def check_value(block: Any, value: Any, strict: bool, is_upload: Callable[[Path], bool]) -> Any:
    """What a control can hold of the ``value`` that was sent for it.

    Args:
        block: the control.
        strict: the value must be one that the control can hold; otherwise its function
            looks for itself, and says what is wrong where it was asked.
        is_upload: whether a file is one that the sender has brought.

    Raises:
        BadRequest: the control can hold no such value.
        Refused: the value names a file that is not the sender's upload.
    """
    readable_value = readable(value)
    for path in _paths(value):
        if not is_upload(Path(path)):
            raise Refused("The file is not here, or not any more. Bring it once more.")
    if not strict and not isinstance(block, gr.HTML):  # which holds ids, not words of a person's
        return value
    value = readable_value
    if isinstance(block, gr.File):
        return _files(block, value)
    if isinstance(block, gr.Textbox):
        return _text(block, "" if value is None else value)
    if isinstance(block, gr.Checkbox):
        if value not in (None, False, True):
            raise _unusable("{field} cannot be {value}: it must be true or false.", block, value)
        return bool(value)
    if isinstance(block, gr.Slider | gr.Number):
        return _number(block, value)
    if isinstance(block, gr.CheckboxGroup) or getattr(block, "multiselect", None):
        if not isinstance(value, list | None):
            raise _unusable("{field} cannot be {value}: it must be a list.", block, value)
        return [_choice(block, each) for each in value or ()]
    if isinstance(block, gr.Dropdown | gr.Radio):
        return value if value is None else _choice(block, value)
    return value


def readable(value: Any, depth: int = 0) -> Any:
    """A value without half characters; raises BadRequest for one that has no end of lists."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if depth > MAX_DEPTH:
        raise not_of_the_page()
    if isinstance(value, list):
        return [readable(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {readable(name): readable(each, depth + 1) for name, each in value.items()}
    return value


def _paths(value: Any) -> Iterator[str]:
    """The files that a value names."""
    if isinstance(value, dict):
        if isinstance(path := value.get("path"), str):
            yield path
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _paths(each)


def _files(block: gr.File, value: Any) -> Any:
    several = block.file_count != "single"
    if value is not None and several != isinstance(value, list):
        raise not_of_the_page()
    for each in value if several and value else [value]:
        if each is not None and not is_file_obj_with_meta(each):
            raise not_of_the_page()
    return value


def _text(block: gr.Textbox, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _unusable("{field} cannot be {value}: it must be text.", block, value)
    return str(value)


def _number(block: Any, value: Any) -> float | None:
    if value is None and not isinstance(block, gr.Slider):
        return None
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good:
        raise _unusable("{field} cannot be {value}: it must be a number.", block, value)
    low, high = block.minimum, block.maximum
    if low is not None and value < low:
        raise _unusable("{field} is {value}; it must be at least {limit}.", block, value, limit=low)
    if high is not None and value > high:
        raise _unusable("{field} is {value}; it must be at most {limit}.", block, value, limit=high)
    return value


def _choice(block: Any, value: Any) -> Any:
    offered = [each for _, each in block.choices]
    if isinstance(value, str | int) and value in offered:
        return value
    if not isinstance(value, str):
        raise _unusable("{field} cannot be {value}: it must be text.", block, value)
    raise _unusable(
        "{field} cannot be {value}: it is not among the choices, or not any more. Load the page "
        "again, then choose another one.",
        block,
        value,
    )


def _unusable(template: str, block: Any, value: Any, **values: Any) -> BadRequest:
    label = getattr(block, "label", None)
    field = str(getattr(label, "key", label) or Message("The value"))
    shown = value if isinstance(value, str) else repr(value)
    if len(shown) > SHOWN_CHARACTERS:
        shown = f"{shown[: SHOWN_CHARACTERS - 1]}…"
    return BadRequest(template, field=field, value=shown, **values)
