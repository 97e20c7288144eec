"""Who may come in, what other sites' pages cannot do, what visitors see of one another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipelines.core.paths import HUB_FOLDER
from pipelines.models.catalog import Catalog
from studio.core.accounts.accounts import Account
from studio.core.accounts.passwords import hash_made_password
from tests.patience import PATIENCE
from tests.studio.live import (
    build_api,
    live_studio,
    options_for,
    page_config,
    paint,
    sentence,
    settings,
    wait_for,
)
from tests.studio.people import ACCOUNTS, PASSWORDS

JOBS = "/api/v1/jobs/text_to_image"


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home) -> Iterator[tuple]:
    options = options_for(tmp_path_factory.mktemp("server"), twin_home, accounts=ACCOUNTS)
    with live_studio(options) as running:
        yield running


# --- who may come in ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/config",
        "/api/v1/jobs",
        "/api/v1/models",
        "/pictures/x.png",
        "/gradio_api/info",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/heartbeat/abc",
        "/gradio_api/queue/data?session_hash=abc",
        "/assets/x.js",
        "/tabs/chat.json",
    ],
)
def test_stranger_sees_nothing(visitor, path: str):
    answer = visitor(None).get(path)
    assert answer.status_code == 401
    sentence(answer)


@pytest.mark.parametrize(
    "path", ["/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/cancel"]
)
def test_stranger_cannot_post_to_gradio(visitor, path: str):
    assert visitor(None).post(path, json={}).status_code == 401


def test_stranger_s_browser_is_sent_to_the_login(visitor):
    answer = visitor(None).get("/", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_a_login_leads_to_the_tab_of_the_address(visitor):
    browser = visitor(None)
    answer = browser.get("/?tab=gallery&x=1", headers={"accept": "text/html"})
    assert answer.headers["location"] == "/login?tab=gallery"
    page = browser.get("/login?tab=gallery").text
    assert 'action="login?tab=gallery"' in page
    wrong = browser.post("/login?tab=gallery", data={"name": "ada", "password": "?"})
    assert 'action="login?tab=gallery"' in wrong.text
    right = {"name": "ada", "password": PASSWORDS["ada"]}
    answer = browser.post("/login?tab=gallery", data=right)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?tab=gallery")
    assert browser.get("/login?tab=chat").headers["location"] == "/?tab=chat"  # is logged in


def test_the_known_tabs_are_those_of_the_page(visitor, studio):
    known = {place.id for place in studio[0].features.places()}
    names = studio[0].features.tab_names()
    assert known | {"inside", "shorten", "shelf", "loras"} <= names
    assert "nowhere" not in names
    config = page_config(visitor("host"))
    props = {part["id"]: part["props"] for part in config["components"]}
    nodes = [config["layout"]]
    while props.get((node := nodes.pop())["id"], {}).get("elem_id") != "tabs":
        nodes += node.get("children", ())
    assert {props[each["id"]]["id"] for each in node["children"]} == known


@pytest.mark.parametrize(
    "tab",
    ["//evil.example", "https://evil.example", "gallery%0d%0aset-cookie:%20a=b", "Gallery",
     "gallery%22%3E%3Cscript%3E", "/../x", "", "gallery&tab=//evil.example"],
)  # fmt: skip
def test_a_login_leads_nowhere_else(visitor, tab: str):
    browser = visitor(None)
    answer = browser.get(f"/?tab={tab}", headers={"accept": "text/html"})
    assert answer.headers["location"] == "/login"
    assert 'action="login"' in browser.get(f"/login?tab={tab}").text
    right = {"name": "ada", "password": PASSWORDS["ada"]}
    answer = browser.post(f"/login?tab={tab}&next=//evil.example", data=right)
    assert answer.headers["location"] == "/"


def test_login_page_speaks_the_browser_s_language(visitor):
    page = visitor(None).get("/login", headers={"accept-language": "zh-CN"}).text
    assert "密码" in page
    assert "Password" in visitor(None).get("/login").text


def test_a_copied_cookie_is_worth_nothing_after_logging_out(studio, visitor):
    ada = visitor("ada")
    copied = httpx.Cookies(ada.cookies)
    assert ada.post("/logout").status_code == 303
    with httpx.Client(base_url=studio[1], cookies=copied) as thief:
        assert thief.get("/api/v1/jobs").status_code == 401


def test_a_stranger_may_send_a_name_and_a_password_and_no_more(visitor):
    answer = visitor(None).post("/login", data={"name": "x" * 30_000, "password": "x"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("path", "content_type", "words"),
    [
        ("/login", "multipart/form-data; boundary=X; charset=unicode_escape", "unicode_escape"),
        ("/login", 'Multipart/Form-Data; charset="zlib"; boundary=X', "zlib"),
        ("/login", f"multipart/form-data; boundary={'X' * 300}", "300 bytes"),
        ("/gradio_api/upload", "multipart/form-data; boundary=X; charset=punycode", "punycode"),
        ("/login", f"multipart/form-data; boundary=X{';' * 10_000}", "10031 characters"),
    ],
)
def test_a_form_of_another_encoding_is_refused_in_words(visitor, path, content_type, words):
    name = b'--X\r\nContent-Disposition: form-data; name="name"\r\n\r\n\\ud800\r\n'
    form = name + name.replace(b'"name"', b'"password"') + b"--X--\r\n"
    answer = visitor("ada").post(path, content=form, headers={"content-type": content_type})
    assert answer.status_code == 422
    assert words in sentence(answer)


def test_a_page_s_upload_is_its_sender_s_own_file_and_broken_ones_leave_none(studio, visitor):
    cache, upload = studio[0].home / "cache", "/gradio_api/upload"
    before = set(cache.rglob("*"))
    ada, bob = visitor("ada"), visitor("bob")
    paths = [each.post(upload, files={"files": ("a.png", b"x")}).json() for each in (ada, bob)]
    assert paths[0] != paths[1]
    for name in ("..", None):
        answer = ada.post(upload, files={"files": (name, b"y" * 1000)})
        assert 400 <= answer.status_code < 500
    assert {path for path in set(cache.rglob("*")) - before if path.is_file()} == {
        Path(each[0]) for each in paths
    }


@pytest.mark.parametrize("host", ["é".encode(), b"[::::]", b"a:b", b"[", b"\xff\xfe, ok"])
def test_an_address_of_a_proxy_that_is_none_is_said(visitor, host: bytes):
    headers = {"x-forwarded-host": host}, {"x-gradio-server": b"http://" + host}
    for each in headers:
        answer = visitor("ada").get("/", headers=each)
        assert answer.status_code == 200 or "no address" in sentence(answer)


@pytest.mark.parametrize(
    "path", [f"/static/{'a' * 4000}", f"/assets/{'界' * 200}", f"/static/{'a/' * 3000}x"]
)
def test_a_file_of_the_page_with_an_endless_name_is_not_there(visitor, path: str):
    assert visitor("ada").get(path).status_code == 404


def test_wrong_password_is_said_and_nothing_is_echoed_as_html(visitor):
    form = {"name": '"><script>', "password": "wrong"}
    answer = visitor(None).post("/login", data=form)
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert "<script>" not in answer.text
    assert "set-cookie" not in answer.headers


def test_cookie_is_out_of_reach_of_scripts_and_other_sites(visitor):
    answer = visitor(None).post("/login", data={"name": "ada", "password": PASSWORDS["ada"]})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    answer = visitor(None).post(
        "/login",
        data={"name": "ada", "password": PASSWORDS["ada"]},
        headers={"x-forwarded-proto": "https"},
    )
    assert "Secure" in answer.headers["set-cookie"]


def test_log_out_ends_the_session(visitor):
    ada = visitor("ada")
    assert ada.get("/api/v1/jobs").status_code == 200
    assert ada.get("/logout").headers["location"] == "/"
    assert ada.get("/api/v1/jobs").status_code == 200, "a link from elsewhere logs nobody out"
    ada.post("/logout")
    assert ada.get("/api/v1/jobs").status_code == 401


def test_basic_authentication_serves_programs(studio):
    with httpx.Client(base_url=studio[1], auth=("ada", PASSWORDS["ada"])) as client:
        assert client.get("/api/v1/jobs").status_code == 200
    with httpx.Client(base_url=studio[1], auth=("ada", "wrong")) as client:
        answer = client.get("/api/v1/jobs")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_program_of_a_guest_stays_the_same_guest_by_its_cookie(studio):
    with httpx.Client(
        base_url=studio[1], auth=("guest", PASSWORDS["guest"]), timeout=PATIENCE
    ) as one:
        job = paint(one)
        assert one.get(f"/api/v1/jobs/{job['id']}").status_code == 200


def test_key_of_the_terminal_opens_the_host_s_session_once(studio, visitor):
    key = studio[0].accounts.make_host_key()
    first, second = visitor(None), visitor(None)
    assert first.get("/login", params={"key": key}).headers["location"] == "/"
    assert first.get("/api/v1/jobs").status_code == 200
    assert second.get("/login", params={"key": key}).status_code == 403
    studio[0].accounts.make_host_key()
    assert second.get("/login", params={"key": "é"}).status_code == 403
    assert second.get("/api/v1/jobs").status_code == 401


# --- what other sites' pages cannot do ---------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://[broken"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ],
)
@pytest.mark.parametrize("path", [JOBS, "/gradio_api/queue/join", "/logout"])
def test_request_of_a_foreign_page_is_refused(visitor, headers: dict, path: str):
    answer = visitor("ada").post(path, json=settings(), headers=headers)
    assert answer.status_code == 403
    assert "other sites" in sentence(answer)
    assert "access-control-allow-origin" not in answer.headers


def test_request_of_the_own_page_is_taken(studio, visitor):
    ada = visitor("ada")
    answer = ada.post(JOBS, json={}, headers={"origin": studio[1]})
    assert answer.status_code == 422
    through_the_tunnel = {"origin": "https://x.gradio.live", "x-forwarded-host": "x.gradio.live"}
    assert ada.post(JOBS, json={}, headers=through_the_tunnel).status_code == 422


def test_every_answer_has_the_security_headers(visitor):
    for answer in (visitor("ada").get("/"), visitor(None).get("/"), visitor(None).get("/login")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


# --- what one visitor can see of another -------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("guest", "guest"),
        *(pytest.param("ada", other, marks=pytest.mark.deep) for other in ("bob", "host")),
    ],
)
def test_visitors_do_not_see_each_other_s_things(visitor, one: str, other: str):
    one, other = visitor(one), visitor(other)
    job = paint(one, prompt="for my eyes only")
    picture = job["pictures"][0]["id"]
    mine = [
        f"/api/v1/jobs/{job['id']}",
        f"/api/v1/jobs/{job['id']}/events",
        f"/api/v1/pictures/{picture}",
        f"/pictures/{picture}.png",
        f"/thumbnails/{picture}.webp",
    ]
    for path in mine:
        assert one.get(path).status_code == 200, path
        assert other.get(path).status_code == 404, path
    assert other.get(f"/api/v1/jobs/{job['id']}/preview").status_code == 404
    for action in ("cancel", "retry"):
        assert other.post(f"/api/v1/jobs/{job['id']}/{action}").status_code == 404
    assert other.delete(f"/api/v1/pictures/{picture}").status_code == 404
    assert one.get(f"/pictures/{picture}.png").status_code == 200
    for path in ("/api/v1/jobs", "/api/v1/pictures", "/api/v1/pictures?search=eyes"):
        assert job["id"] not in other.get(path).text
        assert picture not in other.get(path).text
        assert job["id"] in one.get(path).text


@pytest.mark.parametrize("name", ["atelier.db", "secret.key", "studio.lock", "models"])
def test_home_folder_cannot_be_read_through_gradio(studio, visitor, name: str):
    path = studio[0].home / name
    for url in (f"/gradio_api/file={path}", f"/gradio_api/file=../{name}", f"/static/../{path}"):
        assert visitor("host").get(url).status_code in (403, 404)


def test_picture_file_cannot_be_read_through_gradio(studio, visitor):
    ada = visitor("ada")
    paint(ada)
    for file in (studio[0].home / "outputs").rglob("*.png"):
        assert ada.get(f"/gradio_api/file={file}").status_code == 404


def test_guest_cannot_make_the_studio_download_a_model(visitor):
    body = settings(model="sd15", width=512, height=512)
    answer = visitor("guest").post(JOBS, json=body)
    assert answer.status_code == 403
    assert "only the host" in sentence(answer)


def test_guest_paints_with_a_model_that_the_host_has_downloaded(tmp_path, twin_home, twin_folder):
    guests = Account("guest", hash_made_password("only for friends"), None)
    options = options_for(tmp_path / "home", tmp_path, accounts=(guests,))
    (tmp_path / "models").mkdir()
    entry = next(entry for entry in Catalog(tmp_path).models() if entry.name == "sd15")
    place = tmp_path / "home" / HUB_FOLDER / entry.source.hub.replace("/", "--")
    shutil.copytree(twin_folder("sd1"), place)
    body = settings(model="sd15")
    with live_studio(options, build_api) as (_, address):
        client = httpx.Client(
            base_url=address, timeout=PATIENCE, auth=("guest", "only for friends")
        )
        with client:
            answer = client.post(JOBS, json=body)
            assert answer.status_code == 202, answer.text
            job = wait_for(client, answer.json()["id"])
            assert job["state"] == "done", job["error"]
            shutil.rmtree(place)
            again = client.post(f"/api/v1/jobs/{job['id']}/retry")
    assert again.status_code == 403
    assert "only the host" in sentence(again)


def test_a_guest_s_uploads_stop_at_the_quota_before_they_are_written(studio, visitor):
    running, url = studio[0], "/gradio_api/upload"
    one, other = visitor("guest"), visitor("guest")
    quota = running.settings.current.guest_quota_mb
    running.settings.change(guest_quota_mb=10)
    try:
        for name in ("a.png", "b.png"):
            assert one.post(url, files={"files": (name, bytes(4_000_000))}).status_code == 200
        before = set((running.home / "cache").rglob("*"))
        answer = one.post(url, files={"files": ("c.png", bytes(4_000_000))})
        assert answer.status_code == 429
        assert "There is room for 2" in sentence(answer)
        assert set((running.home / "cache").rglob("*")) == before
        assert one.post("/api/v1/loras", content=bytes(4_000_000)).status_code == 429
        assert other.post(url, files={"files": ("d.png", bytes(4_000_000))}).status_code == 200
    finally:
        running.settings.change(guest_quota_mb=quota)


def test_an_upload_beyond_every_limit_is_refused(visitor, monkeypatch):
    monkeypatch.setattr("studio.api.access.MAX_LARGE_UPLOAD_BYTES", 100)
    answer = visitor("host").post("/gradio_api/upload", files={"files": ("c.png", bytes(200))})
    assert answer.status_code == 413
