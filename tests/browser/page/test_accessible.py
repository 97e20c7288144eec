"""The page for those who see little or nothing, or use it by touch: WCAG 2.2 AA, by axe-core."""

from __future__ import annotations

from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from tests.browser.navigation import each_tab

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
# The last three rules are not among those that axe-core runs for these tags by itself.
OPTIONS = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
    "rules": {
        name: {"enabled": True}
        for name in ("target-size", "label-content-name-mismatch", "page-has-heading-one")
    },
    "resultTypes": ["violations"],
}
# Gradio's own: rule and a class of the element.
EXCEPTIONS = {("label-content-name-mismatch", "upload-container")}
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
SCHEMES = ("light", "dark")


def prepare(page: Page) -> Page:
    page.add_style_tag(content=STILL)  # a colour on its way to another one is none of the page's
    page.evaluate(f"{AXE};1")
    return page


WITHIN = """([inTab, options]) => {
  const panels = [...document.querySelectorAll("[role=tabpanel]")];
  return axe.run(inTab ? panels.find((each) => each.checkVisibility()) : document, options);
}"""


def violations(page: Page, scheme: str, in_tab: bool = False) -> list[str]:
    """What axe-core finds on the page as it is, or in the tab that is shown, in words."""
    page.emulate_media(color_scheme=scheme)
    expect(page.locator("body.dark")).to_have_count(int(scheme == "dark"))
    page.mouse.move(0, 0)
    found = page.evaluate(WITHIN, [in_tab, OPTIONS])["violations"]
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in found
        for node in violation["nodes"]
        if not any(rule == violation["id"] and name in node["html"] for rule, name in EXCEPTIONS)
    ]


def test_no_tab_breaks_a_rule_and_no_label_is_left_as_a_marker(visit):
    """On a phone, never wider than it is, half of the tabs dark; deep tests have the rest.

    What is around the tabs is looked at once.
    """
    page = prepare(visit(viewport=PHONE, has_touch=True))
    found = {}
    for number, id in enumerate(each_tab(page)):
        found[id] = violations(page, SCHEMES[number > 6], in_tab=number > 0)
        assert "i18n" not in page.inner_text("body"), id
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], id
    assert len(found) > 10
    assert {id: each for id, each in found.items() if each} == {}


@pytest.mark.deep
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_no_tab_breaks_a_rule_in_any_language_theme_or_width(visit, locale, viewport):
    page = prepare(visit(locale=locale, viewport=viewport))
    found = {(id, scheme): violations(page, scheme) for id in each_tab(page) for scheme in SCHEMES}
    page.click("[role=tab][data-tab-id=gallery]")
    page.locator("#gallery-pictures .picture").last.click()
    expect(page.locator("#gallery-details .prompt")).to_be_visible()
    page.click("#delete")
    page.locator("#delete-for-good").wait_for()
    page.click("#gallery-tools [data-do=several]")
    page.locator("#gallery-pictures .picture").last.click()
    page.click("#gallery-tools [data-do=delete]")
    found |= {("a chosen picture", scheme): violations(page, scheme) for scheme in SCHEMES}
    assert {where: each for where, each in found.items() if each} == {}
