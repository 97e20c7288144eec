"""A studio on this machine without accounts, and where it listens."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from threading import Event
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest

from pipelines.core.errors import Unavailable
from studio import app
from studio.app import warm_up
from studio.core.accounts.accounts import Owner
from studio.features.settings.tab import SettingsTab
from studio.i18n import translate
from studio.page.components.paint_form import PaintForm
from studio.page.head import CHINESE, UNREACHABLE
from studio.page.widgets import Visitor
from studio.serving import listen
from tests.patience import PATIENCE
from tests.studio.live import build_api, live_studio, options_for, paint, sentence, settings

JOBS = "/api/v1/jobs/text_to_image"


# --- on this machine, without accounts ---------------------------------------------------------


@pytest.fixture(scope="module")
def open_studio(tmp_path_factory, twin_home) -> Iterator[tuple]:
    with live_studio(options_for(tmp_path_factory.mktemp("open"), twin_home)) as running:
        yield running


def test_every_browser_of_the_machine_sees_the_same_things(open_studio):
    with (
        httpx.Client(base_url=open_studio[1], timeout=PATIENCE) as one,
        httpx.Client(base_url=open_studio[1], timeout=PATIENCE) as other,
    ):
        job = paint(one)
        assert other.get(f"/api/v1/jobs/{job['id']}").json() == job


@pytest.mark.parametrize("language", ["zh", "zh-HK", "zh-Hant-TW,en;q=0.5", "zh-CN"])
def test_page_of_who_reads_chinese_names_a_locale_that_gradio_knows(open_studio, language: str):
    answer = httpx.get(open_studio[1], headers={"accept-language": language})
    assert answer.text.index(CHINESE) < answer.text.index("window.gradio_config =")
    assert answer.text.rstrip().endswith("</html>")
    english = httpx.get(open_studio[1], headers={"accept-language": "en-GB,zh;q=0.5"}).text
    chinese = answer.text.replace(CHINESE, "").replace('lang="zh"', 'lang="en"')
    for words in ("Finished.", UNREACHABLE, "Try again"):
        chinese = chinese.replace(json.dumps(translate(words, "zh")), json.dumps(words))
    assert english == chinese
    assert '"person": "local"' in english


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "["]
)
def test_foreign_name_for_this_machine_is_refused(open_studio, host: str):
    answer = httpx.get(open_studio[1] + "/api/v1/jobs", headers={"host": host})
    assert answer.status_code == 403
    assert "localhost" in sentence(answer)


def test_local_names_are_answered(open_studio):
    port = open_studio[1].rpartition(":")[2]
    for name in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        answer = httpx.get(open_studio[1] + "/api/v1/jobs", headers={"host": name})
        assert answer.status_code == 200


OWN_SAMPLER = """
from diffusers import EulerDiscreteScheduler
{line}
class {name}Scheduler(EulerDiscreteScheduler):
    pass
"""


def test_own_samplers_that_fail_when_imported_are_reported_and_not_offered_once_it_is_warm(
    tmp_path, twin_home
):
    options = options_for(tmp_path / "home", twin_home)
    (options.home / "samplers").mkdir()
    lines = {"Fine": "", "Raising": "1 / 0", "Leaving": "raise SystemExit('at once')"}
    for name, line in lines.items():
        source = OWN_SAMPLER.format(name=name, line=line)
        (options.home / "samplers" / f"{name}.py").write_text(source)
    with live_studio(options, build_api) as (studio, address):
        warm_up(studio)
        listed = httpx.get(f"{address}/api/v1/samplers").json()["samplers"]
        assert {each["name"] for each in listed} & {*lines} == {"Fine"}
        answer = httpx.post(f"{address}{JOBS}", json=settings(sampler="Raising"))
        assert "There is no sampler called Raising." in sentence(answer)
        with gr.Blocks():
            form, tab = PaintForm(studio), SettingsTab(studio)
        offered = form._sampler_picker(studio.catalog.get("tiny-sd1"))["choices"]
        assert {*offered} & {*lines} == {"Fine"}
        told = tab._what_is_left_out(Visitor(Owner("local", "you", is_host=True), "en"))
        assert (
            "Raising.py is left out: its own code raises ZeroDivisionError: division by zero."
            in told
        )
        assert "Leaving.py is left out: its own code raises SystemExit: at once." in told


# --- where it listens --------------------------------------------------------------------------


def test_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"Port {port} is taken"):
            listen("127.0.0.1", port)


def test_next_free_port_is_found():
    with listen("127.0.0.1", None) as first, listen("127.0.0.1", None) as second:
        assert first.getsockname()[1] < second.getsockname()[1]


def test_address_of_another_machine_cannot_be_listened_at():
    with pytest.raises(Unavailable, match=r"192\.0\.2\.1"):
        listen("192.0.2.1", None)


def test_what_is_loaded_when_warm_is_looked_at_by_no_collection(monkeypatch):
    steps: list[str] = []
    collector = SimpleNamespace(
        collect=lambda: steps.append("collected"), freeze=lambda: steps.append("frozen")
    )
    monkeypatch.setattr(app, "gc", collector)
    monkeypatch.setattr(app, "SETTLE_SECONDS", 0)
    page_seen, closing = Event(), Event()
    page_seen.set()
    work = (lambda: steps.append("warm"), lambda: steps.append("first picture"))
    app._warm_up_later(*work, page_seen, closing)
    assert steps == ["warm", "collected", "frozen", "first picture"]
    closing.set()
    app._warm_up_later(*work, page_seen, closing)
    assert len(steps) == 4
