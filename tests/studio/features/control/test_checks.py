"""What is refused before a picture that follows others is queued."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipelines.core.errors import BadRequest
from pipelines.diffusion.control.requests import ControlRequest, SteeredChangesRequest
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.features.control.checks import check_units

SIZES = {"a" * 32: (120, 60), "b" * 32: (301, 150), "c" * 32: (60, 60)}


def check(followed: str, along: bool | None, pictures: tuple[str, ...] = (), **change) -> None:
    sizes = {id: SimpleNamespace(width=size[0], height=size[1]) for id, size in SIZES.items()}
    nothing = SimpleNamespace(check=lambda *_: None, check_fit=lambda *_: None, get=lambda *_: None)
    inputs = SimpleNamespace(get=lambda _, id: sizes[id])
    studio = SimpleNamespace(catalog=nothing, control=nothing, conditions=nothing, inputs=inputs)
    unit = {"picture": followed * 32, "model": "net", "crop_along": along}
    asked = {"picture": "a" * 32, **change}
    fields = {"prompt": "", "units": [unit], "from_picture": asked, "pictures": pictures}
    check_units(studio, LOCAL_OWNER, SteeredChangesRequest(**fields))
    if not pictures:
        del fields["pictures"]
        check_units(studio, LOCAL_OWNER, ControlRequest(**fields))


def test_a_picture_that_cannot_be_cropped_along_is_refused_at_once():
    part = {"mask": "d" * 32, "area": "masked"}
    with pytest.raises(BadRequest, match="has 60×60 pixels and the painted one 120×60"):
        check("c", True, **part)
    check("b", True, **part)
    check("c", None, **part)
    check("c", False, **part)
    check("c", True)  # all of the picture is painted
    # Of several pictures it must go along with each, unless it is each in its turn.
    with pytest.raises(BadRequest, match="has 301×150 pixels and the painted one 60×60"):
        check("b", True, ("c" * 32,), **part)
    check("a", True, ("c" * 32,), **part)
