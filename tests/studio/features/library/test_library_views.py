"""The cards of the library, and what “Paint with it” puts into a form."""

from __future__ import annotations

import pytest

from pipelines.diffusion.lora.record import LoraRecord
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.features.library import views
from studio.features.library.tab import _fields_with
from studio.page.widgets import Visitor

VISITOR = Visitor(LOCAL_OWNER, "en")
EVIL = "<img src=x onerror=alert(1)>\"'"


def record(**changes) -> LoraRecord:
    return LoraRecord(**{"id": "0" * 32, "owner": "local", "name": "clay", **changes})


def cards_of(*records: LoraRecord, **options) -> str:
    return views.library_cards(records, [], VISITOR, **options)


@pytest.mark.parametrize("owner", ["local", ""])
def test_what_a_file_says_of_itself_is_text(owner):
    html = cards_of(record(owner=owner, name=EVIL, triggers=(EVIL,), base=EVIL, family=EVIL))
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;") >= 5


@pytest.mark.parametrize(
    ("modules", "sentence"),
    [
        ({"unet": 64}, "Changes 64 of the U-Net's modules, 0 of the text encoder's."),
        ({"text_encoder": 2}, "Changes 0 of the U-Net's modules, 2 of the text encoder's."),
        (
            {"unet": 9, "text_encoder": 2, "text_encoder_2": 3},
            "Changes 9 of the U-Net's modules, 2 and 3 of the two text encoders'.",
        ),
    ],
)
def test_a_card_says_what_changes(modules, sentence):
    assert sentence.replace("'", "&#x27;") in cards_of(record(modules=modules))


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ({}, "128 of 128 modules matched."),
        ({"unread": 6, "unread_modules": 2}, "128 of 130 modules matched."),
        ({"unread": 6}, None),  # brought in before modules were counted
        ({"kind": "embedding", "modules": {}}, None),
    ],
)
def test_a_card_says_how_much_of_the_file_matched(file, sentence):
    entry = record(**{"modules": {"unet": 96, "text_encoder": 32}} | file)
    for html in (cards_of(entry), views.added_notice(entry, VISITOR)):
        assert sentence in html if sentence else "matched" not in html


def test_only_one_s_own_is_renamed_and_deleted():
    for part in ('class="renaming"', 'class="deletion"'):
        assert part in cards_of(record())
        assert part not in cards_of(record(owner=""))


def test_a_model_is_no_file_to_download():
    assert ".safetensors" in cards_of(record())
    assert ".safetensors" not in cards_of(record(kind="model"))


def test_what_could_not_be_done_stands_in_the_open_card_or_above_all():
    failure = '<div class="error">no</div>'
    inside = cards_of(record(), opened="0" * 32, failure=failure)
    assert inside.index("<details") < inside.index(failure)
    gone = cards_of(record(), opened="1" * 32, failure=failure)
    assert gone.index(failure) < gone.index("<details")


USED = [{"name": name, "weight": 0.5} for name in ("a", "b", "c", "d")]


@pytest.mark.parametrize(
    ("entry", "prompt", "loras", "expected"),
    [
        (record(), "", [], {"prompt": "", "loras": [{"name": "clay", "weight": 1.0}]}),
        (
            record(triggers=("sks", "ohwx")),
            "a mug",
            USED[:1],
            {"prompt": "a mug, sks", "loras": [USED[0], {"name": "clay", "weight": 1.0}]},
        ),
        (record(triggers=("sks", "ohwx")), "an OHWX mug", USED,
         {"prompt": "an OHWX mug <lora:clay:1>", "loras": USED}),
        (record(kind="embedding"), "", [],
         {"prompt": "clay", "loras": [{"name": "clay", "weight": 1.0}]}),
        (record(kind="model", triggers=("sks",)), "a mug", USED,
         {"prompt": "a mug, sks", "loras": USED, "model": f"own:{'0' * 32}"}),
    ],
)  # fmt: skip
def test_painting_with_it_keeps_what_the_form_has(entry, prompt, loras, expected):
    assert _fields_with(entry, {"prompt": prompt, "loras": loras}) == expected
