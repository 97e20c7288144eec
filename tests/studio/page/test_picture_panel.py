"""The panel of a job that is over, and what can be done from there."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from pipelines.core.errors import BadRequest, NotFound
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.models.catalog import Catalog
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.core.feature import Features
from studio.page import views
from studio.page.components.details import Details
from studio.page.components.picture_panel import PicturePanel, variations_of
from studio.page.widgets import Visitor
from tests.studio.core.jobs.test_jobs import Desk

ME = Visitor(LOCAL_OWNER, "en")


class WatchedDesk(Desk):
    """With what the page asks of a studio beside its jobs."""

    def __init__(self, home) -> None:
        super().__init__(home)
        self.catalog, self.control = Catalog(self.home), ControlCatalog(self.home)
        self.loras = SimpleNamespace(models=lambda owner: [])
        self.features = Features()
        self.submissions = SimpleNamespace(
            retry=lambda owner, job_id: self.jobs.retry(owner.id, job_id)
        )


@pytest.fixture
def desk(tmp_path):
    desk = WatchedDesk(tmp_path / "home")
    yield desk
    desk.close()


@pytest.fixture
def watch(desk) -> PicturePanel:
    with gr.Blocks():
        return PicturePanel(
            desk,
            kind="draw",
            panel=gr.HTML(js_on_load=PicturePanel.CLICKED),
            cancel=gr.Button(),
            details=Details(desk, "painted"),
            empty=("Nothing", "Do something."),
        )


def panel_of(watch: PicturePanel, job, visitor: Visitor = ME) -> str:
    return watch.show_ended(visitor, job, "", False)[0]


def submit(desk, **request):
    return desk.submit(owner=LOCAL_OWNER.id, **request)


def test_only_a_failed_or_cancelled_job_can_be_tried_again(desk, watch):
    cancelled = submit(desk)
    cancelled = desk.jobs.cancel(LOCAL_OWNER.id, cancelled.id)
    desk.jobs.start()
    failed = desk.wait_for_end(submit(desk, failure="user"))
    done = desk.wait_for_end(submit(desk))
    assert "Try again" in panel_of(watch, cancelled)
    assert "Try again" in panel_of(watch, failed)
    assert "再试一次" in panel_of(watch, failed, Visitor(LOCAL_OWNER, "zh"))
    assert "The brush has 1 hairs" in panel_of(watch, failed)
    assert "Try again" not in panel_of(watch, done)


def test_trying_again_queues_the_same_request(desk, watch):
    job = submit(desk, prompt="once more")
    desk.jobs.cancel(LOCAL_OWNER.id, job.id)
    assert watch.view._try_again(ME, job.id)
    newest = desk.jobs.list(LOCAL_OWNER.id)[0]
    assert (newest.id != job.id, newest.state) == (True, "queued")
    assert newest.request == job.request


def test_why_it_cannot_be_tried_again_is_said_above_the_same_panel(desk, watch):
    desk.settings.change(queue_limit=1)
    cancelled = desk.jobs.cancel(LOCAL_OWNER.id, submit(desk).id)
    submit(desk)
    refusal = views.refusal(lambda: watch.view._try_again(ME, cancelled.id), ME)
    assert "You have 1 jobs waiting or running; 1 are allowed." in refusal
    panel = watch.show_ended(ME, cancelled, refusal, False)[0]
    assert panel.index("1 are allowed") < panel.index("Try again")
    with pytest.raises(NotFound, match="no job"):
        watch.view._try_again(ME, None)


def test_variations_keep_all_settings_but_mix_a_new_seed_into_four_pictures():
    request = {"prompt": "a mug", "seed": 3, "batch_size": 2, "batch_count": 9,
               "variation": {"seed": 1, "strength": 0.9, "width": 64, "height": 64}}  # fmt: skip
    assert variations_of(request) == {
        "prompt": "a mug", "seed": 3, "batch_size": 1, "batch_count": 4,
        "variation": {"seed": -1, "strength": 0.2, "width": 64, "height": 64},
    }  # fmt: skip
    with pytest.raises(BadRequest, match="from a single seed"):
        variations_of({"base": {"prompt": "a mug", "seed": 3}})
