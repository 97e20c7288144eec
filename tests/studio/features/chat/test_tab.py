"""What the chat tab's scripts say and load."""

from __future__ import annotations

from pathlib import Path

import gradio
import pytest

from pipelines.chat.presets import sampling_presets
from pipelines.chat.requests import Generation, Sampling
from studio.features.chat import json_views
from studio.features.chat.tab import SCRIPTS, katex
from studio.i18n import strings_in_scripts, texts


def test_all_that_the_scripts_say_is_found_and_translated():
    found = strings_in_scripts(SCRIPTS)
    assert {"Send", "Stop", "Delete “{title}” for good? All its branches go with it."} <= found
    assert found - texts("zh").keys() == set()


def test_formulas_are_drawn_by_the_library_that_gradio_brings():
    folder = Path(gradio.__file__).parent / "templates" / "frontend"
    place = katex()
    script = (folder / place["script"]).read_text(encoding="utf-8")
    # What assets/chat/words.js imports: an object with `render` as the default.
    assert script.rstrip().endswith(" as default};")
    assert "render:" in script[-2000:]
    assert ".katex" in (folder / place["style"]).read_text(encoding="utf-8")


def test_each_preset_sets_all_of_the_sampling():
    """Else something of the preset before would stay."""
    presets = sampling_presets()
    assert [preset.name for preset in presets] == ["balanced", "precise", "creative", "greedy"]
    for preset in presets:
        assert preset.sampling.model_dump(exclude_none=True).keys() == Sampling.model_fields.keys()
        assert preset.title.keys() == {"en", "zh"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_settings_have_the_bounds_of_the_request(language):
    fields = {field["name"]: field for field in json_views.settings(language)["fields"]}
    assert fields.keys() <= Generation.model_fields.keys()
    assert (fields["temperature"]["low"], fields["temperature"]["high"]) == (0, 2)
    assert fields["max_new_tokens"]["low"] == 1
    assert fields["seed"]["low"] == -1
    if language == "zh":
        assert all(field["title"] in texts("zh").values() for field in fields.values())
        assert all(field["info"] in texts("zh").values() for field in fields.values())
