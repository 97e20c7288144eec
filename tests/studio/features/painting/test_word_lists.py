"""Lists of words over HTTP: the host's to change, everybody's to use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from studio.core.gallery.metadata import read_settings
from studio.core.gallery.reuse import fields_of, unused_settings
from studio.core.services import Studio
from tests.studio.live import build_api, live_studio, options_for, paint, sentence, settings
from tests.studio.people import ACCOUNTS

LISTS, TEXT = "/api/v1/wildcards", "/api/v1/wildcards/text"
PAINT = "/api/v1/jobs/text_to_image"


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home) -> Iterator[tuple[Studio, str]]:
    home = tmp_path_factory.mktemp("lists")
    with live_studio(options_for(home, twin_home, accounts=ACCOUNTS), build_api) as running:
        yield running


@pytest.fixture
def colour(host) -> str:
    answer = host.put(LISTS, json={"name": "toys/colour", "text": "red\nblue\n"})
    assert answer.status_code == 200, answer.text
    return "toys/colour"


def test_the_host_alone_changes_lists_and_everybody_reads_them(host, guest, colour):
    for change in (
        guest.put(LISTS, json={"name": colour, "text": "black"}),
        guest.put(LISTS, json={"name": "mine", "text": "x"}),
        guest.delete(LISTS, params={"name": colour}),
    ):
        assert change.status_code == 403
        assert sentence(change) == "Only the host may change lists of words."
    assert guest.get(LISTS).json() == {"wildcards": [colour]}
    assert guest.get(TEXT, params={"name": colour}).json()["text"] == "red\nblue\n"
    host.put(LISTS, json={"name": "soon gone".replace(" ", "-"), "text": "x"})
    assert host.delete(LISTS, params={"name": "soon-gone"}).status_code == 204
    assert sentence(host.delete(LISTS, params={"name": "soon-gone"})).startswith("There is no list")


@pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "a/../../b", "..", ""])
def test_names_are_never_paths(host, name):
    assert host.put(LISTS, json={"name": name, "text": "x"}).status_code == 422
    assert host.get(TEXT, params={"name": name}).status_code in (404, 422)


def test_a_picture_says_its_words_and_its_template_and_both_are_read_back(guest, colour, studio):
    prompt, negative = f"a __{colour}__ {{mug|boat}}", "{fog|rain}"
    job = paint(guest, prompt=prompt, negative_prompt=negative, seed=5)
    assert job["state"] == "done", job["error"]
    picture = guest.get(job["pictures"][0]["url"]).content
    read = read_settings(picture)
    assert read["Template"] == prompt
    assert read["prompt"] in {f"a {c} {t}" for c in ("red", "blue") for t in ("mug", "boat")}
    fields = fields_of(read)
    assert (fields["prompt"], fields["negative_prompt"], fields["seed"]) == (prompt, negative, 5)
    # Of others' files: their lists are not here, so it is the words that are taken.
    theirs = {**read, "Version": "v1.10.1"}
    assert fields_of(theirs)["prompt"] == read["prompt"]
    assert fields_of({**theirs, "Template": "{a|b}"})["prompt"] == "{a|b}"
    running = studio[0]
    from pipelines.diffusion.samplers import samplers_in

    left = unused_settings(theirs, {"tiny-sd1"}, samplers_in(running.home), running.control)
    assert not {"Template", "Negative Template"} & left


@pytest.mark.parametrize("prompt", ["{a|b", "__nobody__", "{1|2}}", "__../colour__", "(mug:99)"])
def test_what_cannot_be_resolved_is_refused_before_it_is_queued(guest, prompt):
    before = len(guest.get("/api/v1/jobs").json()["jobs"])
    for field in ("prompt", "negative_prompt"):
        answer = guest.post(PAINT, json=settings(**{field: prompt}))
        assert answer.status_code in (404, 422)
        assert sentence(answer)
    assert len(guest.get("/api/v1/jobs").json()["jobs"]) == before


def test_all_combinations_are_painted_in_turn(guest):
    job = paint(guest, prompt="{a|b} {c|d}", combinations=True, batch_count=2, batch_size=2)
    read = [read_settings(guest.get(each["url"]).content) for each in job["pictures"]]
    assert sorted(each["prompt"] for each in read) == ["a c", "a d", "b c", "b d"]
    assert fields_of(read[0])["combinations"] is True
