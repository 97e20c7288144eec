"""A package brings a feature: its tab, its job, its route, its quota and its Chinese words."""

from __future__ import annotations

from io import BytesIO

import httpx
from PIL import Image
from playwright.sync_api import expect

from tests.packages import palette_in
from tests.patience import PATIENCE
from tests.studio.live import Options, live_studio, wait_for

COLOURS = {"brick": "#b2402a", "sea": "#206080"}


def test_the_example_of_the_readme_is_used(tmp_path, browser):
    with (
        palette_in(tmp_path / "site"),
        live_studio(Options(tmp_path / "home", device="cpu", offline=True)) as (studio, address),
        httpx.Client(base_url=f"{address}/api/v1/", timeout=PATIENCE) as client,
    ):
        before = studio.quota.bytes_used("local")
        assert client.put("palette", json=COLOURS).json() == COLOURS
        assert studio.quota.bytes_used("local") > before
        limit = studio.settings.current.guest_quota_mb
        assert studio.quota.room("guest-1") == 1_000_000 * limit

        chinese = {"Accept-Language": "zh"}
        refused = client.post("jobs/mix", json={"name": "moss"}, headers=chinese)
        assert refused.status_code == 404
        assert refused.json()["error"]["message"] == "您的调色板中没有颜色 moss。"
        job = wait_for(httpx.Client(base_url=address), _submit(client, "brick"))
        assert job["result"] == {"value": COLOURS["brick"]}
        data = httpx.get(f"{address}/{job['pictures'][0]['url']}").content
        assert Image.open(BytesIO(data)).getpixel((9, 9)) == (0xB2, 0x40, 0x2A)

        context = browser.new_context(locale="zh-CN")
        page = context.new_page()
        page.goto(f"{address}/?tab=palette")
        expect(page.get_by_role("tab", name="调色板")).to_have_attribute("aria-selected", "true")
        expect(page.locator("#palette-panel img")).to_have_attribute("alt", COLOURS["brick"])
        page.fill("#colour-name input, #colour-name textarea", "sea")
        page.click("#mix")
        expect(page.locator("#palette-panel img")).to_have_attribute("alt", COLOURS["sea"])
        page.fill("#colour-name input, #colour-name textarea", "moss")
        page.click("#mix")
        expect(page.locator("#palette-panel .error")).to_have_text("您的调色板中没有颜色 moss。")
        context.close()


def _submit(client: httpx.Client, name: str) -> str:
    return client.post("jobs/mix", json={"name": name}).json()["id"]
