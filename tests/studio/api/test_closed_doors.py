"""A studio that goes without an API for other programs."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

import app
from pipelines.core.errors import BadRequest
from studio.app import open_studio
from tests.patience import PATIENCE
from tests.studio.live import build_api, live_studio, options_for

DOORS = {"openai": "/v1/models", "mcp": "/mcp", "a1111": "/sdapi/v1/options"}


def test_every_door_of_the_studio_is_tried_here(tmp_path, twin_home):
    studio = open_studio(options_for(tmp_path, twin_home))
    try:
        assert set(studio.features.doors()) == set(DOORS)
    finally:
        studio.close()


@pytest.mark.parametrize("door", DOORS)
def test_closed_door_is_not_there_and_all_else_is(tmp_path, twin_home, door):
    options = replace(
        options_for(tmp_path, twin_home),
        closed_doors=(door,),
        allowed_origins=("http://localhost:3000",),
    )
    visiting = {"origin": "http://localhost:3000", "sec-fetch-site": "cross-site"}
    with (
        live_studio(options, build_api) as (studio, address),
        httpx.Client(base_url=address, timeout=PATIENCE) as client,
    ):
        assert door not in studio.features.doors()
        assert client.get(DOORS[door]).status_code == 404
        assert client.post(DOORS[door], json={}).status_code in (404, 405)
        refused = client.get(DOORS[door], headers=visiting)
        assert "access-control-allow-origin" not in refused.headers
        assert client.get("/api/v1/models").status_code == 200
        assert client.get("/").status_code == 200
        for other in DOORS.keys() - {door}:
            assert client.get(DOORS[other]).status_code != 404


def test_open_door_answers(tmp_path, twin_home):
    with live_studio(options_for(tmp_path, twin_home), build_api) as (_, address):
        for path in DOORS.values():
            assert httpx.get(address + path, timeout=PATIENCE).status_code != 404


def test_unknown_door_is_named_with_those_that_there_are(tmp_path, twin_home):
    options = replace(options_for(tmp_path, twin_home), closed_doors=("opnai",))
    with pytest.raises(BadRequest, match=r"no opnai .* openai"):
        open_studio(options)


def test_flag_may_be_repeated():
    assert app.parse(["--without", "openai", "--without", "x"]).without == ["openai", "x"]
    assert app.parse([]).without == []


def test_terminal_names_no_closed_door():
    assert "/v1" in app.welcome("127.0.0.1", 7860, [], None)
    assert "/v1" not in app.welcome("127.0.0.1", 7860, [], None, openai=False)
