"""A studio with the tiny model on a real port, and Chromium to look at it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from pipelines.core.events import Progress
from studio.app import warm_up
from studio.core.jobs import worker
from studio.features.clustering.results import animation_runs
from tests.browser.page.traffic import be_patient
from tests.needs import CHROMIUM
from tests.patience import PATIENCE
from tests.studio.live import live_studio, options_for, paint

# The first three are Chromium's own lists below the address bar: pages that it would load again for
# each page of a test, at a fifth of the work. The others are Playwright's, which these replace.
WITHOUT = (
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup"),
    *("AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync"),
    *("DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades"),
    *("LensOverlay", "MediaRouter", "NetworkTimeServiceQuerying", "OptimizationHints"),
    *("PaintHolding", "PreconnectToSearch", "ThirdPartyStoragePartitioning"),
)
# Nothing but the studio is asked for anything.
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync",
         f"--disable-features={','.join(WITHOUT)}")  # fmt: skip
# Options of a context. What moves while one waits is drawn sixty times a second, and no test looks
# at it.
USUAL = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}

UNFINISHED = """
from diffusers import EulerDiscreteScheduler
from nowhere import noise

class UnfinishedScheduler(EulerDiscreteScheduler):
    pass
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def studio(tmp_path_factory, twin_home, control_folder) -> Iterator[tuple]:
    """The studio and its address; gone, with its models, before tests of other kinds begin.

    It has painted once, so the page opens with the tiny model, and has tried its own sampler, which
    is broken.
    """
    home = tmp_path_factory.mktemp("browser") / "home"
    (home / "samplers").mkdir(parents=True)
    (home / "samplers" / "unfinished.py").write_text(UNFINISHED, encoding="utf-8")
    with (
        pytest.MonkeyPatch.context() as patched,
        live_studio(options_for(home, twin_home, control_folder)) as (running, address),
    ):
        for limit in ("LIMIT_SECONDS", "WAIT_SECONDS"):  # a slow machine takes longer
            patched.setattr(animation_runs, limit, PATIENCE)
        with httpx.Client(base_url=address, timeout=PATIENCE) as client:
            assert paint(client, prompt="a first picture")["state"] == "done"
        warm_up(running)
        yield running, address


@pytest.fixture(scope="package")
def browser() -> Iterator:
    with sync_playwright() as driver:
        expect.set_options(timeout=1000 * PATIENCE)
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM, args=list(QUIET), timeout=1000 * PATIENCE
        )
        be_patient(chromium)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def contexts(browser) -> Iterator[dict]:
    """The browser's contexts by their options: pages of one share the cache of scripts."""
    opened: dict = {}
    yield opened
    for context in opened.values():
        context.close()


@pytest.fixture
def rest_at(monkeypatch) -> Callable[[int], None]:
    """``rest_at(step)``: jobs come to that step at ease, and rest there until they are cancelled.

    However slow the page is, a job is still at work when it is looked at.
    """
    saw = worker.Running.saw

    def rest(last: int) -> None:
        def see(running: worker.Running, progress: Progress) -> None:
            if progress.step > last:
                running.stop.wait(PATIENCE)
            elif progress.step:
                # What is seen next is written down, and the page has time to draw it.
                time.sleep(worker.WRITE_SECONDS if progress.step == last else 0.03)
            saw(running, progress)

        monkeypatch.setattr(worker.Running, "saw", see)

    return rest


@pytest.fixture
def visit(studio, browser, contexts) -> Iterator[Callable]:
    """``visit(path, **options of the browser's context)``: the page, opened; its errors fail the
    test, and so do requests to anybody but the studio."""
    pages, problems, elsewhere = [], [], []

    def leave_by(go: Callable) -> Callable:
        """The page that is left complains that its connections are cut; that is no problem."""

        def leave(*given, **named):
            before = list(problems)
            answer = go(*given, **named)
            problems[:] = before
            return answer

        return leave

    def open_page(path="", **options):
        options = {**USUAL, **options}
        key = repr(sorted(options.items()))
        if key not in contexts:
            contexts[key] = browser.new_context(**options)
        page = contexts[key].new_page()
        pages.append(page)
        # Without an interval it asks in each frame, and has the page drawn anew for the question.
        page.wait_for_function = partial(page.wait_for_function, polling=50)
        page.on(
            "request",
            lambda request: (
                request.url.startswith((studio[1], "data:", "blob:"))
                or elsewhere.append(request.url)
            ),
        )
        page.on("pageerror", lambda error: problems.append(f"{error}\n{error.stack}"))
        page.on(
            "console",
            lambda message: (
                message.type == "error"
                and problems.append(f"{message.text} ({message.location['url']})")
            ),
        )
        page.goto(f"{studio[1]}/{path}")
        page.goto, page.reload = leave_by(page.goto), leave_by(page.reload)
        if path:  # another tab than the first one: what it shows, the test waits for
            page.problems = problems
            return page
        page.locator("#paint").wait_for()
        page.locator(".result-panel").first.wait_for()
        # The controls show the last request's values by now, and will not do so later.
        expect(page.locator("#about-model")).not_to_be_empty()
        page.problems = problems
        return page

    yield open_page
    found = list(problems)  # before the pages complain of being closed
    for page in pages:
        page.evaluate("localStorage.clear()")  # words that were typed and not sent
        page.close()
    assert found == []
    assert elsewhere == []
