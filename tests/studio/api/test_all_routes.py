"""What holds for every route: strangers, other guests, other sites, names, keys and sizes.

The routes are the app's own, walked through: one that is added later is asked here as well, and
fails by its name until :data:`IDS` knows what its path is about.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from starlette.testclient import TestClient

from studio.api import gradio_guard
from studio.api.access import OPEN_PATHS, SAFE_METHODS
from studio.app import build_app, open_studio
from studio.core.services import Options
from studio.features.openai_api.responses import Kept
from studio.features.training.training_jobs import TrainingFolder
from tests.patience import PATIENCE
from tests.pipelines.diffusion.lora import files
from tests.studio.live import TINY, live_studio, options_for, paint, sentence, wait_for
from tests.studio.people import ACCOUNTS
from tests.studio.rows import add_job

API = "/api/v1"
# What a path's names stand for, by where the path begins; whose value is one guest's own thing.
IDS = {
    "jobs/{job_id}": "job",
    "pictures/{picture_id}": "picture",
    "inputs/from-picture/{picture_id}": "picture",
    "inputs/{input_id}": "input",
    "cluster-tables/{table_id}": "table",
    "cluster-data/{data_id}": "data",
    "clusterings/{job_id}": "clustering",
    "subjects/{subject_id}": "subject",
    "trainings/{training_id}": "training",
    "prunings/{pruning_id}": "pruning",
    "loras/{lora_id}": "lora",
    "chats/{chat_id}": "chat",
    "chats/messages/{message_id}": "message",
    "thumbnails/{picture_id}": "picture",
    "mcp/pictures/{picture_id}": "picture",
    "v1/responses/{response_id}": "response",
}
# The rest of a path, and paths about nothing that is anybody's own.
OTHERS = {
    "kind": "text_to_image",
    "key": "teapot",
    "number": "1",
    "row": "0",
    "name": "model.json",
    "file": "000010-0.png",
    "style": "kohya",
    "tab": "chat",
    "form": "json",
    "photo_id": "photo",
    "path": "nowhere",
    "session_hash": "abc",
}
# A body that is looked at only once the thing is found.
BODIES: dict[str, dict[str, Any]] = {
    "PATCH chats/{chat_id}": {"revision": 0, "title": "mine"},
    "POST chats/{chat_id}/lanes": {"revision": 0, "model": "x"},
    "POST chats/{chat_id}/messages": {"revision": 0, "text": "hello"},
    "POST chats/messages/{message_id}/edit": {"revision": 0, "text": "hello"},
    "POST chats/messages/{message_id}/answer": {"revision": 0},
    "POST chats/messages/{message_id}/continue": {"revision": 0},
    "POST chats/messages/{message_id}/turn": {"revision": 0, "step": 1},
    "PATCH loras/{lora_id}": {"name": "mine"},
}
QUERIES = {"DELETE chats/{chat_id}/lane": "?revision=0"}
# Bodies of more than a megabyte are taken here alone.
LARGE = {
    "/api/v1/pictures/read-settings": 50_000_000,
    "/api/v1/inputs": 50_000_000,
    "/api/v1/chats/import": 50_000_000,
    "/api/v1/cluster-tables": 300_000_000,
    "/api/v1/loras": 1_000_000_000,
    "/api/v1/subjects/{subject_id}/photos": 1_000_000_000,
    "/gradio_api/upload": 1_000_000_000,
    "/v1/images/edits": 50_000_000,
    "/v1/images/variations": 50_000_000,
    **{
        f"/sdapi/v1/{path}": 50_000_000
        for path in ("txt2img", "img2img", "extra-single-image", "extra-batch-images", "png-info")
    },
}
DOORS = ("/v1/", "/mcp", "/sdapi/v1/", "/controlnet/")
OWN_LIMIT = {"/login": 20_000}
# Their answers say nothing of anybody, so that they are open to everybody.
OPEN = {"/login", "/robots.txt", "/favicon.ico", "/api/v1/health", "/health"}


class Route(NamedTuple):
    method: str
    template: str

    @property
    def inner(self) -> str:
        """The template without what all of its kind begin with."""
        return self.template.removeprefix(f"{API}/").removeprefix("/")

    @property
    def thing(self) -> str | None:
        """Whose path it is: the kind of thing that its first name stands for."""
        found = [kind for start, kind in IDS.items() if self._begins_with(start)]
        return found[0] if found else None

    def _begins_with(self, start: str) -> bool:
        return re.fullmatch(re.escape(start) + r"([/.].*)?", self.inner) is not None

    def path(self, things: dict[str, str]) -> str:
        """With a guest's things in its places."""

        def fill(match: re.Match[str]) -> str:
            name = match[1].partition(":")[0]
            if self.thing is not None and match[0] == re.search(r"\{.*?\}", self.template)[0]:
                return things[self.thing]
            if name == "photo_id":
                return things.get("photo", "photo")
            assert name in OTHERS, f"{self}: say in IDS or OTHERS what {{{name}}} is"
            return OTHERS[name]

        return re.sub(r"\{(.*?)\}", fill, self.template)


def _walk(routes: Any, prefix: str = "") -> Iterator[Route]:
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from _walk(inner.routes, prefix + route.include_context.prefix)
        elif (methods := getattr(route, "methods", None)) is not None:
            for method in methods:
                yield Route(method, prefix + route.path)
        elif route.path == "":  # Gradio's: what is let through to it
            for path, methods in gradio_guard.SERVED.items():
                yield from (Route(method, path) for method in methods)
        else:  # a folder of scripts
            yield Route("GET", f"{prefix}{route.path}/main.js")


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Iterator[Any]:
    """The app of a studio without accounts, which nothing runs."""
    running = open_studio(Options(tmp_path_factory.mktemp("local"), device="cpu", offline=True))
    try:
        yield build_app(running)
    finally:
        running.close()


@pytest.fixture(scope="module")
def local_client(local) -> Iterator[TestClient]:
    """Asks the app without accounts, all in one loop of events."""
    client = TestClient(local, base_url="http://localhost")
    with start_blocking_portal() as client.portal:
        yield client


@pytest.fixture(scope="module")
def routes(local) -> list[Route]:
    found = sorted(set(_walk(local.routes)))
    templates = {route.template for route in found}
    assert {f"{API}/chats/{{chat_id}}/lanes", "/v1/models", "/gradio_api/upload"} <= templates
    assert len(found) > 120
    return found


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home) -> Iterator[tuple]:
    options = options_for(tmp_path_factory.mktemp("routes"), twin_home, accounts=ACCOUNTS)
    with live_studio(options) as running:
        yield running


def _create(client: httpx.Client, path: str, **sent: Any) -> dict[str, Any]:
    answer = client.post(f"{API}/{path}", **sent)
    assert answer.status_code in (200, 201), (path, answer.text)
    return answer.json()


@pytest.fixture(scope="module")
def things(studio, bob, twin_home) -> dict[str, str]:
    """One of each kind of thing, all of them Bob's."""
    from diffusers import StableDiffusionPipeline

    store, made = studio[0].store, {}
    job = paint(bob)
    made |= {"job": job["id"], "picture": job["pictures"][0]["id"]}
    made["input"] = _create(bob, f"inputs/from-picture/{made['picture']}")["id"]
    table = b"name,x,y\n" + b"".join(b"p%d,%d,%d\n" % (at, at % 7, at) for at in range(30))
    made["table"] = _create(bob, "cluster-tables", params={"name": "t.csv"}, content=table)["id"]
    made["data"] = _create(bob, "cluster-data", json={"kind": "made", "name": "wine"})["id"]
    body = {"data": made["data"], "algorithm": "kmeans"}
    made["clustering"] = bob.post(f"{API}/jobs/cluster", json=body).json()["id"]
    subject = _create(bob, "subjects/from-example/teapot", json={})
    made |= {"subject": subject["id"], "photo": subject["photos"][0]["id"]}
    halves = files.random_halves(
        StableDiffusionPipeline.from_pretrained(twin_home / "models" / TINY), size=0.1
    )
    lora = files.kohya(halves, 2.0, {})
    made["lora"] = _create(bob, "loras", params={"name": "clay"}, content=lora)["id"]
    chat = studio[0].conversations.new("bob", "smollm2-135m")
    (message,) = studio[0].conversations.say("bob", chat.id, "hello", chat.revision)
    made |= {"chat": chat.id, "message": message.id, "response": "resp_bob"}
    studio[0].openai_responses.keep("bob", Kept([], {"id": made["response"]}))
    for kind, name, more in (
        ("dreambooth", "training", {"subject": subject["id"]}),
        ("prune", "pruning", {"model": "smollm2-135m"}),
    ):
        made[name] = secrets.token_hex(16)
        request = {name: made[name], "owner": "bob", "name": "mine", **more}
        add_job(store, "bob", kind, request, "cancelled", f"job-{made[name]}")
    TrainingFolder(studio[0].home, made["training"]).samples.mkdir(parents=True)
    wait_for(bob, made["clustering"])
    return made


def _status(client: httpx.Client, route: Route, path: str, **sent: Any) -> int:
    """The status of an answer, which may be a stream that never ends."""
    with client.stream(route.method, path, **sent) as answer:
        return answer.status_code


def test_a_stranger_gets_in_nowhere(routes, things, stranger):
    assert OPEN_PATHS == OPEN
    for route in routes:
        if route.template in OPEN:
            continue
        with stranger.stream(route.method, route.path(things)) as answer:
            assert answer.status_code == 401, route
            assert "set-cookie" not in answer.headers, route
    page = stranger.get("/", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login")


def test_another_guest_finds_nothing_of_one_s_own(routes, things, bob, guest, ada):
    asked = set()
    for route in routes:
        if route.thing is None:
            continue
        asked.add(route.thing)
        name = f"{route.method} {route.inner}"
        path = route.path(things) + QUERIES.get(name, "")
        for other in (guest, ada):
            body = BODIES.get(name, {}) if route.method not in ("GET", "HEAD", "DELETE") else None
            assert _status(other, route, path, json=body) == 404, (route, path)
    assert asked == {*IDS.values()}
    for kind in ("job", "picture", "input", "table", "data", "subject", "lora", "chat"):
        plain = next(r for r in routes if r.thing == kind and r.method == "GET")
        assert _status(bob, plain, plain.path(things)) == 200, plain  # they are there, and stay


def test_no_list_tells_of_another_guest_s_things(routes, things, bob, guest):
    mine = {id for kind, id in things.items() if kind != "photo"}
    seen = set()
    for route in routes:
        if route.method != "GET" or "{" in route.template or not route.template.startswith(API):
            continue
        answer = guest.get(route.template)
        assert answer.status_code in (200, 422), route
        assert not [id for id in mine if id in answer.text], route
        own = bob.get(route.template).text
        seen |= {id for id in mine if id in own}
    assert len(seen) > len(mine) // 2, "they are in one's own lists"


def test_a_page_of_another_site_changes_nothing(routes, things, bob):
    unsafe = [route for route in routes if route.method not in SAFE_METHODS]
    foreign = itertools.cycle(
        [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}]
    )
    for route, headers in zip(unsafe, foreign, strict=False):
        answer = bob.request(route.method, route.path(things), headers=headers)
        assert answer.status_code == 403, route
        assert "other sites" in _sentence_of(answer), route


def _sentence_of(answer: httpx.Response) -> str:
    """What an error says, in whichever door's shape."""
    body = answer.json()
    return body["errors"] if "errors" in body else body["error"]["message"]


def test_an_api_key_opens_the_programs_doors_alone(routes, things, studio):
    owner = studio[0].accounts.owner_of_key("local")
    _, key = studio[0].keys.make(owner, "test")
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=studio[1], headers=headers, timeout=PATIENCE) as program:
        for route in routes:
            if route.template not in OPEN and not route.template.startswith(DOORS):
                with program.stream(route.method, route.path(things)) as answer:
                    assert answer.status_code == 401, route
        assert program.get("/v1/models").status_code == 200
        wrong = {"authorization": f"{headers['authorization']}x"}
        for route in routes:
            if route.template.startswith(DOORS):
                path = route.path(things)
                assert _status(program, route, path, headers=wrong) == 401, route


def test_without_accounts_the_studio_answers_to_its_own_names_only(local_client, routes):
    things, headers = dict.fromkeys(IDS.values(), "x"), {"host": "evil.example"}
    for route in routes:
        answer = local_client.request(route.method, route.path(things), headers=headers)
        assert answer.status_code == 403, route
        if route.method != "HEAD":
            assert "localhost only" in _sentence_of(answer), route


def test_every_route_has_its_limit_of_size(local_client, routes):
    things = dict.fromkeys(IDS.values(), "x")
    assert LARGE.keys() <= {route.template for route in routes}
    for route in routes:
        usual = 4_000_000 if route.template.startswith(DOORS) else 1_000_000
        limit = LARGE.get(route.template, OWN_LIMIT.get(route.template, usual))
        headers = {"content-length": str(limit + 1)}
        answer = local_client.request(route.method, route.path(things), headers=headers)
        assert answer.status_code == 413, route
        if route.method != "HEAD" and not route.template.startswith(DOORS):
            sentence(answer)


FORM = "multipart/form-data; boundary=X"
FILE = (
    b'--X\r\nContent-Disposition: form-data; name="name"; filename="a.txt"\r\n\r\nhi\r\n--X--\r\n'
)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "said"),
    [
        ("POST", "/login", {"content-type": "multipart/form-data"}, b"x", "cannot be read as a fo"),
        ("POST", "/login", {"content-type": FORM}, b"garbage", "cannot be read as a form"),
        ("POST", "/login", {"content-type": FORM}, FILE, "name cannot be a.txt: it must be text."),
        ("POST", "/gradio_api/upload", {"content-type": FORM}, b"--Y", "cannot be read as a form"),
        ("POST", "/gradio_api/upload", {"content-type": FORM}, FILE[:9] * 2000, "cannot be read"),
        ("POST", "/gradio_api/upload", {"content-type": "a/b"}, b"x", "is a/b; it must be multip"),
        ("POST", "/gradio_api/upload", {"content-type": FORM}, FILE[:-7] * 1001, "more than 1000"),
        ("GET", "/scripts/nothing.js", {}, b"", "There is nothing at /scripts/nothing.js."),
        ("GET", "/assets/none", {}, b"", "There is nothing at /assets/none."),
        ("GET", "/scripts/main.js", {"range": "bytes=9999999-"}, b"", "no part bytes=9999999-."),
        ("FOO", "/pictures/x.png", {}, b"", "/pictures/x.png is asked by GET, not by FOO."),
        ("OPTIONS", "/v1/nothing", {}, b"", "There is nothing at /v1/nothing."),
    ],
)  # fmt: skip
def test_what_a_framework_refuses_is_said_in_our_words(
    local_client, method, path, headers, body, said
):
    answer = local_client.request(method, path, headers=headers, content=body)
    assert 400 <= answer.status_code < 500
    assert said in _sentence_of(answer)


def test_every_path_says_by_which_methods_it_is_asked(local_client, routes):
    things = dict.fromkeys(IDS.values(), "x")
    for route in routes:
        if "{path" in route.template or route.template == "/openapi.json":  # which is not served
            continue
        answer = local_client.request("TRACE", path := route.path(things))
        assert answer.status_code == 405, route
        assert route.method in answer.headers["allow"].split(", "), route
        message = _sentence_of(answer)
        assert message == f"{path} is asked by {answer.headers['allow']}, not by TRACE."
