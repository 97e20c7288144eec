"""Two guests behind one shared password, each in a browser of their own."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, expect

from studio.core.accounts.accounts import Account
from studio.core.accounts.passwords import hash_made_password
from tests.browser.conftest import USUAL
from tests.patience import PATIENCE
from tests.studio.live import live_studio, options_for, paint

PASSWORD = "only for friends"


@pytest.fixture(scope="module")
def share_address(tmp_path_factory, twin_home):
    guests = Account("guest", hash_made_password(PASSWORD), None)
    options = options_for(tmp_path_factory.mktemp("shared") / "home", twin_home, accounts=(guests,))
    with live_studio(options) as (_, address):
        yield address


@pytest.fixture
def guest(share_address, browser):
    """``guest()``: the page of a guest who has just logged in, in a browser of their own."""
    contexts = []

    def log_in() -> Page:
        context = browser.new_context(**USUAL)
        contexts.append(context)
        page = context.new_page()
        page.goto(share_address)
        page.fill("input[name=password]", PASSWORD)
        page.click("button")
        page.locator("#paint").wait_for()
        return page

    yield log_in
    for context in contexts:
        context.close()


def test_a_guest_sees_neither_job_nor_picture_of_another(guest, share_address):
    with httpx.Client(base_url=share_address, timeout=PATIENCE) as ann:
        ann.post("/login", data={"name": "guest", "password": PASSWORD})
        (painted,) = paint(ann, prompt="ann's secret mug")["pictures"]
        assert ann.get(painted["url"]).status_code == 200

    ben = guest()
    expect(
        ben.locator("#paint-panel .empty, #paint-panel.empty, #paint-panel .result-panel.empty")
    ).to_be_visible()
    ben.get_by_role("tab", name="Gallery").click()
    expect(ben.locator("#gallery-pictures .empty-state")).to_be_visible()
    assert "secret mug" not in ben.content()
    picture = f"{share_address}/{painted['url'].removeprefix('/')}"
    assert ben.request.get(picture).status == 404
    assert httpx.get(picture, follow_redirects=False).status_code in (303, 401)


@pytest.mark.deep
def test_logging_out_by_the_header_ends_the_session(guest, share_address):
    page = guest()
    page.get_by_role("button", name="Log out").click()
    page.locator("input[name=password]").wait_for()
    assert page.request.get(f"{share_address}/api/v1/jobs").status == 401


def test_a_guest_deletes_all_that_is_theirs_and_does_not_see_what_is_the_host_s(
    guest, share_address
):
    page = guest()
    page.fill("#prompt textarea", "a green cactus")
    page.click("#paint")
    expect(page.locator("#paint-panel")).to_contain_text("Painted in")
    page.get_by_role("tab", name="Settings").click()
    expect(page.locator("#own-things")).to_contain_text("a guest may keep")
    expect(page.locator("#save-settings")).to_be_hidden()
    expect(page.locator("#clean-up")).to_be_hidden()
    before = page.request.get(f"{share_address}/api/v1/pictures").json()["pictures"]
    assert len(before) == 1
    page.click("#delete-everything")
    expect(page.locator("#delete-everything-asked")).to_contain_text("cannot be brought back")
    page.click("#delete-everything-for-good")
    expect(page.locator("#everything-deleted")).to_contain_text("All is deleted")
    expect(page.locator("#own-things")).to_contain_text("takes 0")
    assert page.request.get(f"{share_address}/api/v1/pictures").json()["pictures"] == []
