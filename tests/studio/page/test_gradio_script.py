"""The scripts of Gradio's page that are sent changed."""

from __future__ import annotations

import pytest

from studio.page import gradio_script
from studio.page.gradio_script import CHANGES, Change, changed_scripts

NAMES = {id(each): name for name, each in vars(gradio_script).items() if isinstance(each, Change)}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: NAMES[id(change)])
def test_each_change_is_made_once_in_the_installed_script(change: Change):
    made = [
        name
        for name, text in changed_scripts().items()
        if name.startswith(f"{change.script}-") and text.count(change.after) == 1
    ]
    assert len(made) == 1, (
        f"Gradio writes this in another way now: look at its {change.script}-*.js."
    )
    assert change.before not in changed_scripts()[made[0]]
