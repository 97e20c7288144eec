from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from pipelines.diffusion.requests import TextToImageRequest
from studio.core.gallery.metadata import axes_of, png_bytes, read_settings
from studio.core.services import Studio
from tests.patience import PATIENCE
from tests.pipelines.core.test_uploads import png_header
from tests.studio.live import (
    TINY,
    build_api,
    live_studio,
    options_for,
    paint,
    sentence,
    settings,
    wait_for,
)

JOBS = "/api/v1/jobs/text_to_image"
COMPARE = "/api/v1/jobs/compare_samplers"


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home) -> Iterator[tuple[Studio, str]]:
    with live_studio(options_for(tmp_path_factory.mktemp("api"), twin_home), build_api) as running:
        yield running


@pytest.fixture(scope="module")
def client(studio) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=studio[1], timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def finished_job(client: httpx.Client) -> dict:
    """A finished job of two pictures."""
    return paint(client, prompt="a blue cup, 100% <b>", batch_size=2)


def test_job_is_painted_and_its_pictures_are_found(client: httpx.Client, finished_job: dict):
    assert finished_job["state"] == "done", finished_job
    assert finished_job["error"] is None
    assert len(finished_job["pictures"]) == 2
    for each in finished_job["pictures"]:
        answer = client.get(f"/pictures/{each['id']}.png")
        assert answer.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(answer.content)).size == (64, 64)
        thumbnail = client.get(f"/thumbnails/{each['id']}.webp")
        assert Image.open(io.BytesIO(thumbnail.content)).format == "WEBP"


def test_picture_is_downloaded_as_a_file_on_demand(client: httpx.Client, finished_job: dict):
    picture = f"/pictures/{finished_job['pictures'][0]['id']}.png"
    assert client.get(picture).headers["content-disposition"].startswith("inline")
    answer = client.get(picture, params={"download": "true"})
    assert answer.headers["content-disposition"].startswith("attachment")


def test_settings_inside_a_picture_are_read_back(client: httpx.Client, finished_job: dict):
    data = client.get(f"/pictures/{finished_job['pictures'][0]['id']}.png").content
    answer = client.post("/api/v1/pictures/read-settings", content=data)
    parameters = answer.json()["parameters"]
    assert parameters["prompt"] == "a blue cup, 100% <b>"
    assert parameters["Steps"] == "2"
    assert parameters["Seed"] == "1"
    assert re.fullmatch(r"[0-9a-f]{10}", parameters["Model hash"])


def test_gallery_is_searched_and_paged(client: httpx.Client, finished_job: dict):
    ids = [each["id"] for each in finished_job["pictures"]]
    found = client.get("/api/v1/pictures", params={"search": "blue cup"}).json()["pictures"]
    assert [each["id"] for each in found] == ids[::-1]
    nothing = client.get("/api/v1/pictures", params={"search": "green zebra"}).json()
    assert nothing == {"pictures": [], "next": None}
    page = client.get("/api/v1/pictures", params={"search": "blue", "before": found[0]["id"]})
    assert [each["id"] for each in page.json()["pictures"]] == [found[1]["id"]]


def test_pages_go_on_from_a_picture_that_was_deleted(client: httpx.Client):
    paint(client, prompt="three leaves", batch_count=3)
    query = {"search": "three leaves", "limit": 1}
    first = client.get("/api/v1/pictures", params=query).json()
    assert client.delete(f"/api/v1/pictures/{first['pictures'][0]['id']}").status_code == 204
    seen, cursor = [], first["next"]
    while cursor is not None:
        page = client.get("/api/v1/pictures", params={**query, "before": cursor}).json()
        seen += [each["id"] for each in page["pictures"]]
        cursor = page["next"]
    left = client.get("/api/v1/pictures", params={**query, "limit": 50}).json()
    assert seen == [each["id"] for each in left["pictures"]]
    assert len(seen) == 2
    assert left["next"] is None


def test_several_pictures_are_listed_downloaded_and_deleted_by_a_job(client: httpx.Client):
    paint(client, prompt="a heap of things", batch_size=2)
    ids = client.get("/api/v1/pictures/ids", params={"search": "heap"}).json()["ids"]
    assert len(ids) == 2
    today = {"search": "heap", "until": time.strftime("%Y-%m-%d")}
    assert len(client.get("/api/v1/pictures", params=today).json()["pictures"]) == 2
    long_ago = {"search": "heap", "until": "2001-02-03"}
    assert client.get("/api/v1/pictures", params=long_ago).json()["pictures"] == []
    assert client.get("/api/v1/pictures", params={"until": "then"}).status_code == 422
    answer = client.post("/api/v1/pictures/archive", data={"ids": ",".join(ids)})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as whole:
        assert len(whole.namelist()) == 2
    assert client.post("/api/v1/pictures/delete", json={"ids": "all"}).status_code == 422
    answer = client.post("/api/v1/pictures/delete", json={"ids": ids})
    assert answer.status_code == 202
    job = wait_for(client, answer.json()["id"])
    assert job["result"]["deleted"] == 2
    assert job["request"] == {"pictures": 2}
    assert client.get("/api/v1/pictures/ids", params={"search": "heap"}).json()["ids"] == []
    mine = {"owner": "local", "ids": ids}  # no kind of job that can be asked for by itself
    assert client.post("/api/v1/jobs/delete_pictures", json=mine).status_code == 404


def test_deleted_picture_is_gone(client: httpx.Client):
    picture = paint(client, prompt="soon gone")["pictures"][0]["id"]
    assert client.delete(f"/api/v1/pictures/{picture}").status_code == 204
    for url in (f"/pictures/{picture}.png", f"/thumbnails/{picture}.webp"):
        assert client.get(url).status_code == 404
    assert client.get(f"/api/v1/pictures/{picture}").status_code == 404


def test_compare_samplers_gives_each_cell_and_the_sheet(client: httpx.Client):
    body = {"base": settings(), "samplers": ["Euler", "DDIM"], "steps": [1, 2]}
    job = wait_for(client, client.post(COMPARE, json=body).json()["id"])
    assert job["state"] == "done", job
    assert len(job["pictures"]) == 5


def larger_parts(client: httpx.Client) -> list[dict]:
    """Parts of a request by which a picture has 4 megapixels though it is painted at 64×64."""
    ids = []
    for colour in ("gray", "white"):
        data = png_bytes(Image.new("RGB", (2048, 2048), colour), None)
        ids.append(client.post("/api/v1/inputs", content=data).json()["id"])
    picture, mask = ids
    return [
        {"hires": {"width": 2048, "height": 2048}},
        {"from_picture": {"picture": picture, "mask": mask, "area": "masked"}},
    ]


def test_a_grid_is_checked_whole_before_it_waits(client: httpx.Client):
    before = client.get("/api/v1/jobs").json()["jobs"]

    def post_grid(x: str, field: str = "sampler", steps: str = "1, 2") -> httpx.Response:
        axes = {"x": {"field": field, "values": x}, "y": {"field": "steps", "values": steps}}
        return client.post("/api/v1/jobs/grid", json={"base": settings(), **axes})

    refused = post_grid("Euler, DDIM, Eular")
    assert refused.status_code == 422
    assert "(Sampler: Eular, Steps: 1) There is no sampler called Eular" in sentence(refused)
    assert "nowhere" in sentence(post_grid(f"{TINY}, nowhere", "model"))
    assert "has 10000 cells; at most 200" in sentence(post_grid("1-100", "seed", "1-100"))
    sizes = ", ".join(f"2048x{2048 - 8 * n}" for n in range(30))
    assert "megapixels together; at most 200" in sentence(post_grid(sizes, "size"))
    # All that is made counts: the second pass, and the picture around what is painted.
    for part in larger_parts(client):
        base = settings(width=64, height=64) | part
        body = {"base": base, "x": {"field": "seed", "values": "1-60"}}
        refused = client.post("/api/v1/jobs/grid", json=body)
        assert "megapixels together; at most 200" in sentence(refused), part
    assert client.get("/api/v1/jobs").json()["jobs"] == before
    job = wait_for(client, post_grid("Euler, DDIM").json()["id"])
    assert job["state"] == "done", job
    (sheet,) = [each for each in job["pictures"] if "x" in each["request"]]
    assert len(job["pictures"]) == 5
    told = read_settings(client.get(sheet["url"]).content)
    axes = {"X": ("sampler", "Euler, DDIM"), "Y": ("steps", "1, 2")}
    assert told["Script"] == "X/Y/Z plot"
    assert (told["X Type"], told["Y Values"]) == ("Sampler", "1, 2")
    assert "Steps" not in told
    assert axes_of(told) == axes


def send_picture(client: httpx.Client, size: tuple[int, int], colour: str) -> str:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return client.post("/api/v1/inputs", content=data.getvalue()).json()["id"]


def test_several_pictures_are_changed_by_one_job_and_refused_whole_before_it_waits(client):
    first, second = send_picture(client, (96, 64), "red"), send_picture(client, (64, 96), "blue")
    mask = send_picture(client, (96, 64), "white")
    begun = {"picture": first, "strength": 0.5}
    body = settings(steps=2, from_picture=begun, pictures=[second])
    path = "/api/v1/jobs/from_picture"
    refused = client.post(path, json=body | {"from_picture": begun | {"mask": mask}})
    assert refused.status_code == 422
    assert re.match(r"Not all of the 2 pictures .* Picture 2: The mask has 96×64 pixels and the "
                    "picture 64×96", sentence(refused))  # fmt: skip
    chinese = client.post(
        path,
        json=body | {"from_picture": begun | {"mask": mask}},
        headers={"accept-language": "zh"},
    )
    assert not re.search("[a-z]{3}", sentence(chinese))
    assert client.post(path, json=body | {"pictures": ["0" * 32]}).status_code in (404, 422)
    job = client.post(path, json=body).json()
    done = wait_for(client, job["id"])
    assert (done["state"], done["part"]) == ("done", None)
    assert [(each["width"], each["height"]) for each in done["pictures"]] == [(96, 64), (64, 96)]
    own = [each["request"]["from_picture"]["picture"] for each in done["pictures"]]
    assert own == [first, second] == [each["picture"] for each in done["result"]["changed"]]
    assert not {"pictures", "own_sizes"} & done["pictures"][1]["request"].keys()
    fields = client.get("/api/v1/schema/from_picture").json()["properties"]
    assert fields["pictures"]["maxItems"] == 99


def test_a_seed_left_open_is_drawn_before_the_job_waits(client: httpx.Client):
    """A studio that is killed meanwhile goes on with the same one."""
    job = client.post(JOBS, json=settings(seed=-1, batch_count=2)).json()
    drawn = job["request"]["seed"]
    assert drawn >= 0
    job = wait_for(client, job["id"])
    assert {each["request"]["seed"] for each in job["pictures"]} == {drawn, drawn + 1}
    body = {"base": settings(seed=-1), "samplers": ["Euler"], "steps": [1, 2]}
    assert client.post(COMPARE, json=body).json()["request"]["base"]["seed"] >= 0


def test_events_end_with_the_finished_job(client: httpx.Client):
    job = client.post(JOBS, json=settings(steps=4)).json()
    with client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data:")]
    assert events[-1]["state"] == "done"
    assert {event["id"] for event in events} == {job["id"]}


def test_job_is_cancelled_and_sent_again(client: httpx.Client):
    job = client.post(JOBS, json=settings(steps=150, batch_count=16)).json()
    client.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert wait_for(client, job["id"])["state"] == "cancelled"
    again = client.post(f"/api/v1/jobs/{job['id']}/retry")
    assert again.status_code == 202
    assert again.json()["request"] == job["request"]
    client.post(f"/api/v1/jobs/{again.json()['id']}/cancel")
    assert wait_for(client, again.json()["id"])["state"] == "cancelled"


def test_queued_job_is_told_its_wait(client: httpx.Client, finished_job: dict):
    running = client.post(JOBS, json=settings(steps=150, batch_count=16)).json()
    queued = client.post(JOBS, json=settings()).json()
    try:
        for _ in range(600):
            now = client.get(f"/api/v1/jobs/{queued['id']}").json()
            if now["wait"] is not None:
                break
        assert (now["state"], now["position"]) == ("queued", 1)
        assert isinstance(now["wait"], int)
        assert now["wait"] >= 0
        assert client.get(f"/api/v1/jobs/{running['id']}").json()["wait"] is None
    finally:
        for job in (queued, running):
            client.post(f"/api/v1/jobs/{job['id']}/cancel")
        wait_for(client, running["id"])


def test_running_job_has_a_preview(client: httpx.Client):
    job = client.post(JOBS, json=settings(steps=150, batch_count=16)).json()
    try:
        for _ in range(600):
            answer = client.get(f"/api/v1/jobs/{job['id']}/preview")
            if answer.status_code == 200:
                break
            assert answer.status_code == 204
        assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
    finally:
        client.post(f"/api/v1/jobs/{job['id']}/cancel")
        wait_for(client, job["id"])


BAD = {
    "width 0": ({"width": 0}, "Width is 0; it must be at least 64."),
    "width −8": ({"width": -8}, "Width is -8; it must be at least 64."),
    "width 7": ({"width": 7}, "Width is 7; it must be a multiple of 8."),
    "width 100": ({"width": 100}, "Width is 100; it must be a multiple of 8."),
    "height 100000": ({"height": 100_000}, "Height is 100000; it must be at most 2048."),
    "steps 0": ({"steps": 0}, "Steps is 0; it must be at least 1."),
    "steps 10000": ({"steps": 10_000}, "Steps is 10000; it must be at most 150."),
    "NaN guidance": ({"guidance": float("nan")}, "Guidance is nan; it must be a number."),
    "infinite guidance": ({"guidance": float("inf")}, "Guidance is inf; it must be a number."),
    "long prompt": ({"prompt": "x" * 900_000}, "Prompt has 900000 characters; at most 10000"),
    "no prompt": ({"prompt": None}, "Prompt cannot be null"),
    "lone surrogate": ({"prompt": "\ud800"}, "Prompt cannot be"),
    "list for a size": ({"width": [64]}, "Width cannot be [64]"),
    "unknown setting": ({"colour": "red"}, "There is no setting called colour."),
    "unknown model": ({"model": "tiny-sd2"}, "There is no model called tiny-sd2."),
    "path as a model": ({"model": "../../etc/passwd"}, "no model called ../../etc/passwd"),
    "absolute path as a model": ({"model": "/etc/passwd"}, "no model called /etc/passwd"),
    "unknown sampler": ({"sampler": "Eular"}, "There is no sampler called Eular."),
    "unknown schedule": ({"schedule": "<script>"}, "There is no schedule called <script>."),
    "unknown style": ({"style": "__class__"}, "There is no style called __class__."),
    "seed −2": ({"seed": -2}, "Seed is -2; it must be at least -1."),
    "batch of 9": ({"batch_size": 9}, "Batch size is 9; it must be at most 8."),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD.keys())
def test_bad_value_gets_one_sentence_that_names_it(client, changes: dict, expected: str):
    body = json.dumps(settings(**changes))  # httpx itself would refuse NaN
    answer = client.post(JOBS, content=body)
    assert answer.status_code in (404, 422)
    assert expected in sentence(answer)
    assert client.get("/api/v1/health").status_code == 200


def test_bad_value_within_a_comparison_is_named(client: httpx.Client):
    body = {"base": settings(), "samplers": ["Euler", "Eular"], "steps": [1]}
    assert "no sampler called Eular" in sentence(client.post(COMPARE, json=body))
    body |= {"samplers": [], "base": settings(width=7)}
    assert client.post(COMPARE, json=body).status_code == 422


def test_missing_prompt_is_named(client: httpx.Client):
    assert sentence(client.post(JOBS, json={})) == "Prompt is missing."


def test_emoji_only_prompt_is_painted(client: httpx.Client):
    assert paint(client, prompt="🫖☕️👩‍👩‍👧")["state"] == "done"


def test_prompt_of_a_megabyte_is_refused_before_it_is_read(client: httpx.Client):
    answer = client.post(JOBS, json=settings(prompt="x" * 1_000_000))
    assert answer.status_code == 413
    assert "1.0 MB" in sentence(answer)


def test_body_without_a_length_is_held_to_the_limit_too(client: httpx.Client):
    answer = client.post(JOBS, content=(b"x" * 10_000 for _ in range(200)))
    assert answer.status_code == 413
    assert "1.0 MB" in sentence(answer)


@pytest.mark.parametrize("body", [b"", b"prompt", b"{", b"\xff\xfe", b"[" * 100_000, b"[1]", b"1"])
def test_body_that_is_no_json_object_is_refused(client: httpx.Client, body: bytes):
    answer = client.post(JOBS, content=body)
    assert answer.status_code == 422
    assert "JSON" in sentence(answer)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": "a", **{f"k{n}": 1 for n in range(5001)}}, "has 5002 names; at most 5000"),
        ({"prompt": "a", "loras": [{"name": "a"}] * 26_000}, "holds more than 50000 values"),
        ({"prompt": "a", "units": [{}] * 51_000}, "holds more than 50000 values"),
        ({"prompt": "a", "loras": [1] * 100_000}, "LoRAs has 100000 entries; at most 8 are taken"),
    ],
)
def test_body_of_many_values_is_refused_before_each_of_them_is_told_of(client, body, words):
    answer = client.post(JOBS, json=body)
    assert answer.status_code == 422
    assert words in sentence(answer)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/jobs/no_such_kind"),
        ("GET", "/api/v1/jobs/no-such-job"),
        ("POST", "/api/v1/jobs/no-such-job/cancel"),
        ("POST", "/api/v1/jobs/no-such-job/retry"),
        ("GET", "/api/v1/jobs/no-such-job/events"),
        ("GET", "/api/v1/jobs/no-such-job/preview"),
        ("GET", "/api/v1/pictures/no-such-picture"),
        ("DELETE", "/api/v1/pictures/no-such-picture"),
        ("GET", "/api/v1/schema/no_such_kind"),
        ("GET", "/api/v1/no-such-route"),
        ("GET", "/pictures/no-such-picture.png"),
        ("GET", "/pictures/..%2f..%2fatelier.db"),
        ("GET", "/thumbnails/..%2f..%2fsecret.key.webp"),
    ],
)
def test_what_is_not_there_is_said_to_be_not_there(client, method: str, path: str):
    answer = client.request(method, path, json={})
    assert answer.status_code == 404
    sentence(answer)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=100000"])
def test_bad_query_is_named(client: httpx.Client, query: str):
    answer = client.get(f"/api/v1/pictures?{query}")
    assert answer.status_code == 422
    assert "limit" in sentence(answer)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"a text file named picture.png", "text file"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "SVG"),
        (png_header(30_000, 30_000), "30000 × 30000 pixels"),
        (png_header(64, 64), "damaged"),
    ],
    ids=["empty", "text", "svg", "30000 × 30000", "truncated"],
)
def test_file_that_is_no_good_picture_gets_one_sentence(client, data: bytes, expected: str):
    answer = client.post("/api/v1/pictures/read-settings", content=data)
    assert answer.status_code == 422
    assert expected in sentence(answer)
    assert client.get("/api/v1/health").status_code == 200


def test_picture_without_settings_has_none(client: httpx.Client):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    answer = client.post("/api/v1/pictures/read-settings", content=buffer.getvalue())
    assert answer.json() == {"parameters": {}}


def test_errors_are_said_in_the_reader_s_language(client: httpx.Client):
    answer = client.post(JOBS, json=settings(steps=0), headers={"accept-language": "zh-CN"})
    assert sentence(answer) == "步数为 0；至少应为 1。"


def test_schema_is_that_of_the_request(client: httpx.Client):
    answer = client.get("/api/v1/schema/text_to_image")
    assert answer.json() == TextToImageRequest.model_json_schema()


def test_models_are_listed_without_their_paths(client: httpx.Client, studio):
    answer = client.get("/api/v1/models")
    assert TINY in {model["name"] for model in answer.json()["models"]}
    assert str(studio[0].home) not in answer.text
    fields = {name for model in answer.json()["models"] for name in model}
    assert not fields & {"source", "words", "strengths"}


@pytest.mark.parametrize("what", ["samplers", "schedules", "styles"])
def test_pickers_are_listed_with_their_words(client: httpx.Client, what: str):
    english = client.get(f"/api/v1/{what}").json()[what]
    chinese = client.get(f"/api/v1/{what}", headers={"accept-language": "zh"}).json()[what]
    assert [each["name"] for each in english] == [each["name"] for each in chinese]
    assert english != chinese


def test_status_tells_the_device_and_its_models(client: httpx.Client, finished_job: dict):
    status = client.get("/api/v1/status").json()
    assert (status["ready"], status["device"]) == (True, "cpu")
    assert 0 < status["memory_free"] <= status["memory_total"]
    assert TINY in {model["name"] for model in status["loaded"]}


def test_long_lists_come_in_parts_of_a_megabyte(monkeypatch):
    from studio.api import http

    monkeypatch.setattr(http, "MAX_LIST_BYTES", 100)
    items = [{"words": "x" * size} for size in (10, 20, 80, 10)]
    assert http.list_that_fits(items) == items[:2]
    assert http.list_that_fits(items[2:]) == items[2:3]
    assert http.list_that_fits([]) == []


def test_all_jobs_are_found_part_by_part(client: httpx.Client, finished_job: dict):
    known = [job["id"] for job in client.get("/api/v1/jobs?limit=200").json()["jobs"]]
    found, before = [], ""
    while before is not None:
        part = client.get(f"/api/v1/jobs?limit=2{before and f'&before={before}'}").json()
        found += [job["id"] for job in part["jobs"]]
        before = part["next"]
    assert found == known
    assert finished_job["id"] in found
