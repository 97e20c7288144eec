"""The plot's words, colours and events, without a browser."""

from __future__ import annotations

import json
import os
import re
from pathlib import PurePosixPath

from studio.api.access import OWN_ROUTES
from studio.features.chat.tab import SCRIPTS as CHAT
from studio.features.clustering.plot.plot_component import EVENTS, SCRIPTS, plot
from studio.i18n import strings_in_scripts, texts


def test_all_that_the_scripts_say_is_found_and_translated():
    found = strings_in_scripts(SCRIPTS)
    assert {"Play", "Core", "{count} points selected"} <= found
    assert found - texts("zh").keys() == set()


def test_translations_keep_the_values_of_the_sentences():
    table = texts("zh")
    for text in strings_in_scripts(SCRIPTS):
        assert set(re.findall(r"\{\w+\}", table[text])) <= set(re.findall(r"\{\w+\}", text)), text


def test_the_page_can_listen_to_what_the_hand_does():
    made = plot("here", value=json.dumps({"data": "abc", "dims": 3}))
    assert json.loads(made.value) == {"data": "abc", "dims": 3}
    assert all(callable(getattr(made, event)) for event in EVENTS)


def test_each_module_that_is_imported_is_served():
    scripts = PurePosixPath("/scripts/clustering")
    for path in SCRIPTS.rglob("*.js"):
        address = scripts / path.relative_to(SCRIPTS).as_posix()
        assert OWN_ROUTES.fullmatch(str(address))
        for name in re.findall(r'from "([^"]+)"', path.read_text("utf-8")):
            target = PurePosixPath(os.path.normpath(address.parent / name))
            inside = target.is_relative_to(scripts)
            own = SCRIPTS / target.relative_to(scripts) if inside else CHAT / target.name
            assert own.is_file(), f"{path} imports {name}"
    assert not OWN_ROUTES.fullmatch("/scripts/clustering/../secret.js")
