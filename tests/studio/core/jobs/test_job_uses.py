"""What requests name: written when a job is queued, and found in what earlier versions stored."""

import json
import sqlite3

import pytest

from studio.core.store import FILE_NAME, MIGRATIONS, Store, uses_in
from studio.features import load_features

ENGINES = load_features().engines()
A, B, C, D, E = (letter * 32 for letter in "abcde")
PAINTED = {"prompt": "x", "model": f"own:{A}", "loras": [{"name": "one", "id": B}, {"name": "two"}]}
LEARNT = {"subject": C, "training": D, "model": f"own:{A}", "name": f"not {E}"}
ASKED = {"model": f"own-chat:{A}"}
OF_PAINTED = {("lora", A), ("lora", B)}
NAMED = {
    "text_to_image": (PAINTED, OF_PAINTED),
    "compare_samplers": ({"base": PAINTED, "samplers": ["DDIM"], "steps": [2]}, OF_PAINTED),
    "grid": (
        {
            "base": PAINTED | {"from_picture": {"picture": C}},
            "x": {"field": "from_picture.strength", "values": "0.5, 1"},
            "loras": [{"name": "three", "id": E}],
        },
        OF_PAINTED | {("input", C), ("lora", E)},
    ),
    "from_picture": (
        PAINTED | {"from_picture": {"picture": C, "mask": D}},
        OF_PAINTED | {("input", C), ("input", D)},
    ),
    "enlarge": (
        PAINTED | {"from_picture": {"picture": C, "mask": D}},
        OF_PAINTED | {("input", C), ("input", D)},
    ),
    "upscale": ({"picture": C}, {("input", C)}),
    "control": (
        PAINTED | {"units": [{"picture": C, "model": "m"}, {"picture": D, "model": "m"}]},
        OF_PAINTED | {("input", C), ("input", D)},
    ),
    "merge_loras": (
        {"loras": PAINTED["loras"], "model": f"own:{C}", "name": "n", "id": D},
        {("lora", B), ("lora", C), ("lora", D)},
    ),
    "dreambooth": (LEARNT, {("subject", C), ("training", D), ("lora", A)}),
    "before_after": (
        {"base": PAINTED, "prompts": ["x"], "lora": {"name": "one", "id": C}},
        OF_PAINTED | {("lora", C)},
    ),
    "score_blocks": (ASKED, {("chat_model", A)}),
    "shorten": (ASKED | {"pruning": B, "name": "n"}, {("chat_model", A), ("pruning", B)}),
    "shorten_curve": (ASKED, {("chat_model", A)}),
    "cluster": ({"data": A}, {("data", A)}),
    "compare_clusters": ({"data": A}, {("data", A)}),
    "cluster_curve": ({"data": A, "curve": "elbow"}, {("data", A)}),
}


@pytest.mark.parametrize("kind", ENGINES)
def test_every_kind_of_request_lists_what_it_names(kind):
    fields, expected = NAMED[kind]
    request = ENGINES[kind].request_class.model_validate(fields)
    assert set(request.uses()) == expected
    assert uses_in(request.model_dump_json()) == expected, "as of one that was stored before"


def test_models_of_everybody_s_are_not_stored_by_anybody():
    request = ENGINES["text_to_image"].request_class(prompt=f"a model: own:{A}", model="starter")
    assert list(request.uses()) == []


EARLIER = {
    "valid": (json.dumps(PAINTED), OF_PAINTED),
    "no longer valid": (
        json.dumps(LEARNT | {"brush": "soft", "steps": "many"}),
        {("lora", A), ("subject", C), ("training", D)},
    ),
    "not a number": (f'{{"units": [{{"picture": "{A}", "weight": NaN}}]}}', {("input", A)}),
    "half an emoji": (json.dumps({"picture": "\ud83d", "pruning": A}), {("pruning", A)}),
    "no text where an id was": ('{"subject": 7, "data": null, "model": ["own:x"]}', set()),
    "a list": (f'["{A}", {{"id": "{B}"}}]', {("lora", B)}),
    "no JSON": (f'{{"subject": "{A}"', set()),
    "deep": ("[" * 100_000, set()),
    "empty": ("", set()),
}


def test_what_was_stored_before_is_found_when_the_database_is_opened(tmp_path):
    with sqlite3.connect(tmp_path / FILE_NAME) as old:
        for script in MIGRATIONS[:6]:
            old.executescript(script)
        old.execute("PRAGMA user_version = 6")
        for name, (request, _) in EARLIER.items():
            old.execute(
                "INSERT INTO jobs (id, owner, kind, request, state, created) "
                "VALUES (?, 'ann', 'text_to_image', ?, 'failed', 0)",
                (name, request),
            )
        old.execute(
            "INSERT INTO pictures (id, owner, job_id, position, kind, request, parameters, words, "
            "width, height, bytes, seconds, file, created) "
            "VALUES ('p', 'ann', 'gone', 0, 'control', ?, '', '', 8, 8, 9, 1, 'x.png', 0)",
            (json.dumps(PAINTED),),
        )
        columns = "owner, kind, title, points, columns, truth, notes, bytes, created"
        old.executemany(
            f"INSERT INTO cluster_data (id, source, {columns}) "
            "VALUES (?, ?, 'ann', 'x', '', 1, '[]', 0, '[]', 1, 0)",
            [("of a table", json.dumps({"table": A})), ("damaged", "{")],
        )
    old.close()
    store = Store(tmp_path)
    found = {name: set() for name in EARLIER}
    for row in store.rows("SELECT * FROM job_uses"):
        found[row["job"]].add((row["kind"], row["item"]))
    assert found == {name: expected for name, (_, expected) in EARLIER.items()}
    pictures = store.rows("SELECT picture, kind, item FROM picture_uses")
    assert {tuple(row) for row in pictures} == {("p", *use) for use in OF_PAINTED}
    made_of = dict(map(tuple, store.rows("SELECT id, made_of FROM cluster_data")))
    assert made_of == {"of a table": A, "damaged": None}
    store.write("DELETE FROM jobs WHERE id = 'valid'")
    store.write("DELETE FROM pictures")
    assert not store.rows("SELECT 1 FROM job_uses WHERE job = 'valid'")
    assert not store.rows("SELECT 1 FROM picture_uses")
    store.close()
