"""Errors that are mere texts get the studio's form; everything else passes as it is."""

from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient

from studio.api.foreign_errors import OwnWords


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (PlainTextResponse("Internal Server Error", 500), "Atelier itself has failed here."),
        (PlainTextResponse("teapot", 418), "What was sent cannot be used here."),
        (Response(status_code=404), "There is nothing at /gradio_api/x."),
    ],
)
def test_a_mere_text_is_replaced(answer, said):
    client = TestClient(OwnWords(answer, []))
    got = client.get("/gradio_api/x")
    assert got.status_code == answer.status_code
    assert got.json()["error"]["message"].startswith(said)
    assert got.json()["detail"] == got.json()["error"]["message"]


@pytest.mark.parametrize(
    "answer",
    [
        PlainTextResponse("all is well"),
        Response('{"error": {}}', 404, media_type="application/json"),
        Response("<p>no", 401, media_type="text/html"),
    ],
)
def test_anything_else_passes(answer):
    got = TestClient(OwnWords(answer, [])).get("/x")
    assert (got.status_code, got.content) == (answer.status_code, answer.body)
