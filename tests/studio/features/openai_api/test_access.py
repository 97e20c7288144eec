"""Who may use the API: keys, sessions and HTTP Basic, limits, models, and other sites' pages."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest

import app
from studio.core.accounts.accounts import LOCAL_OWNER, Owner
from studio.core.services import Studio
from tests.patience import PATIENCE
from tests.studio.features.openai_api.conftest import AWAY, HELLO, MODEL
from tests.studio.live import build_api, live_studio, options_for
from tests.studio.people import ACCOUNTS

ADA = Owner("ada", "ada", is_host=True)


@pytest.fixture(scope="module")
def studio_with_accounts(tmp_path_factory, twin_home) -> Iterator[tuple[Studio, str]]:
    """A studio with accounts."""
    home = tmp_path_factory.mktemp("locked")
    (home / "chat").mkdir()
    (home / "chat" / "away.yaml").write_text(AWAY)
    with live_studio(options_for(home, twin_home, accounts=ACCOUNTS), build_api) as running:
        yield running


@pytest.fixture
def by_key(studio_with_accounts) -> Iterator:
    """``by_key(token)``: the official client with this key."""
    clients = []

    def client(token: str) -> openai.OpenAI:
        clients.append(
            openai.OpenAI(base_url=f"{studio_with_accounts[1]}/v1", api_key=token, max_retries=0)
        )
        return clients[-1]

    yield client
    for each in clients:
        each.close()


def ask(client: openai.OpenAI, **changes):
    return client.chat.completions.create(
        **{"model": MODEL, "messages": HELLO, "max_tokens": 2, **changes}
    )


def test_without_accounts_any_key_will_do(client):
    assert MODEL in {model.id for model in client.models.list()}


@pytest.mark.parametrize("token", ["sk-atelier-wrong", "sk-atelier-"])
def test_wrong_key_of_this_kind_is_refused_also_without_accounts(studio_and_address, token: str):
    with openai.OpenAI(
        base_url=f"{studio_and_address[1]}/v1", api_key=token, max_retries=0
    ) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.code == "invalid_api_key"


def test_revoked_key_is_refused(studio_and_address, studio):
    key, token = studio.keys.make(LOCAL_OWNER, "editor")
    with openai.OpenAI(
        base_url=f"{studio_and_address[1]}/v1", api_key=token, max_retries=0
    ) as client:
        assert list(client.models.list())
        studio.keys.revoke("local", key.id)
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        with pytest.raises(openai.AuthenticationError):
            ask(client, stream=True)


@pytest.mark.parametrize("token", ["none", "sk-atelier-wrong", "sk-proj-other", "é"])
def test_stranger_is_refused_in_the_envelope(by_key, studio_with_accounts, token: str):
    for method, path in [("GET", "models"), ("POST", "chat/completions"), ("GET", "nothing")]:
        answer = httpx.request(
            method,
            f"{studio_with_accounts[1]}/v1/{path}",
            headers={"authorization": f"Bearer {token}".encode(), "accept": "text/html"},
        )
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_is_its_owner_s(by_key, studio_with_accounts):
    studio = studio_with_accounts[0]
    _, token = studio.keys.make(ADA, "editor")
    assert ask(by_key(token)).usage.completion_tokens == 2
    (found,) = studio.keys.list("ada")
    assert found.used is not None


def test_a_key_opens_the_api_alone(studio_with_accounts):
    _, token = studio_with_accounts[0].keys.make(ADA, "editor")
    for path in ("/", "/api/v1/jobs", "/api/v1/models"):
        answer = httpx.get(
            studio_with_accounts[1] + path, headers={"authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 401


def test_key_of_a_user_who_has_gone_is_refused(by_key, studio_with_accounts):
    _, token = studio_with_accounts[0].keys.make(Owner("eve", "eve", is_host=True), "left behind")
    with pytest.raises(openai.AuthenticationError) as caught:
        by_key(token).models.list()
    assert "no account" in caught.value.body["message"]


def test_session_and_basic_authorization_open_the_api_too(studio_with_accounts):
    with httpx.Client(base_url=studio_with_accounts[1]) as browser:
        assert browser.get("/v1/models").status_code == 401
        browser.post("/login", data={"name": "ada", "password": "ada's own"})
        assert browser.get("/v1/models").status_code == 200
        wrong = {"authorization": "Bearer sk-atelier-wrong"}
        assert browser.get("/v1/models", headers=wrong).status_code == 401
    assert (
        httpx.get(f"{studio_with_accounts[1]}/v1/models", auth=("ada", "ada's own")).status_code
        == 200
    )
    answer = httpx.get(f"{studio_with_accounts[1]}/v1/models", auth=("ada", "wrong"))
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_requests_of_a_key_are_limited_by_the_minute(by_key, studio_with_accounts):
    _, token = studio_with_accounts[0].keys.make(ADA, "slow", requests_per_minute=2)
    client = by_key(token)
    ask(client)
    ask(client)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, stream=True)
    assert (caught.value.status_code, caught.value.code) == (429, "rate_limit_exceeded")
    assert 50 <= int(caught.value.response.headers["retry-after"]) <= 60
    _, other = studio_with_accounts[0].keys.make(ADA, "another")
    assert ask(by_key(other)).choices


def test_what_cannot_be_answered_counts_too(studio_with_accounts):
    _, token = studio_with_accounts[0].keys.make(ADA, "wrong", requests_per_minute=1)
    asked = {"content": b"no JSON", "headers": {"authorization": f"Bearer {token}"}}
    answers = [
        httpx.post(f"{studio_with_accounts[1]}/v1/chat/completions", **asked) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [400, 429]


def test_tokens_of_a_key_are_limited_by_the_minute(by_key, studio_with_accounts):
    _, token = studio_with_accounts[0].keys.make(ADA, "short", tokens_per_minute=5)
    client = by_key(token)
    assert len(list(ask(client, max_tokens=6, temperature=0, stream=True))) > 3
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client)
    assert "tokens" in caught.value.body["message"]


def test_guest_uses_what_is_here_and_downloads_nothing(studio_with_accounts):
    body = {"messages": HELLO, "max_tokens": 2, "model": "away"}
    with httpx.Client(base_url=studio_with_accounts[1], timeout=PATIENCE) as guest:
        guest.post("/login", data={"name": "guest", "password": "shared"})
        answer = guest.post("/v1/chat/completions", json=body)
        assert answer.status_code == 403
        assert "only the host" in answer.json()["error"]["message"]
        here = {each["id"] for each in guest.get("/v1/models").json()["data"]}
        assert MODEL in here
        assert "away" not in here
        assert guest.post("/v1/chat/completions", json={**body, "model": MODEL}).is_success
    _, token = studio_with_accounts[0].keys.make(LOCAL_OWNER, "host")
    answer = httpx.post(
        f"{studio_with_accounts[1]}/v1/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {token}"},
        timeout=PATIENCE,
    )
    assert answer.status_code == 503, "the host may, but this studio is offline"


def test_health_needs_no_login(studio_with_accounts):
    answer = httpx.get(f"{studio_with_accounts[1]}/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"host": "evil.example"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_pages_of_other_sites_cannot_use_the_api(raw: httpx.Client, headers: dict):
    body = {"messages": HELLO, "max_tokens": 1}
    answer = raw.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "forbidden"


def test_models_are_listed_and_described(client, raw):
    found = {model.id: model for model in client.models.list()}
    assert {MODEL, "tiny-sd1", "starter"} <= found.keys()
    assert {"broken", "away"} & found.keys() == {"broken"}, "what is not here is left out"
    assert (found[MODEL].object, found[MODEL].owned_by) == ("model", "atelier")
    assert (found[MODEL].kind, found["tiny-sd1"].kind) == ("chat", "image")
    assert client.models.retrieve(MODEL) == found[MODEL]
    text = raw.get("/v1/models").text
    assert "gguf" not in text, "where its file lies is nobody's business"


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:7860/v1"), ("::1", "http://[::1]:7860/v1"),
     ("0.0.0.0", "http://127.0.0.1:7860/v1")],
)  # fmt: skip
def test_terminal_names_the_api_s_address(host: str, address: str):
    assert f"For other programs: {address}" in app.welcome(host, 7860, [], None).splitlines()
