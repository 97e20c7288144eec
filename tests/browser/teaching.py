"""What the tests of the page's Teach tab share."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.patience import wait_until
from tests.pipelines.dreambooth.data.test_photos import encode, scene

EXAMPLES = 10


def open_teach_tab(visit) -> Page:
    """The page with the tab Teach."""
    page = visit(path="?tab=teach")
    expect(page.locator("#train-identifier input")).not_to_have_value("")
    return page


def tidy(studio) -> None:
    """Ends what runs, and deletes what has been taught."""
    running, _ = studio

    def cancel_all() -> bool:
        unfinished = [job for job in running.jobs.list("local") if not job.ended]
        for job in unfinished:
            running.jobs.cancel("local", job.id)
        return not unfinished

    wait_until(cancel_all, every=0.1)
    running.subjects.delete_all("local")


def photos_of(count: int) -> list[dict]:
    return [
        {"name": f"{n}.png", "mimeType": "image/png", "buffer": encode(scene(seed=n))}
        for n in range(count)
    ]


def upload(page: Page, files: list[dict]) -> None:
    page.set_input_files("#train-files input[type=file]", files)


def take_examples(page: Page) -> None:
    page.click("#train-example")
    expect(page.locator("#train-photos [data-id]")).to_have_count(EXAMPLES)
    expect(page.locator("#train-class-word input")).to_have_value("mug")
