"""Opening the tabs of the page, those of groups too."""

from __future__ import annotations

from collections.abc import Iterator

from playwright.sync_api import Page, expect

BUTTONS = "> .tab-wrapper .tab-container:not(.visually-hidden) [role=tab]"


def open_tab(page: Page, *names: str) -> None:
    """Chooses a tab by what is written on it; one of a group after the group's name."""
    for name in names:
        button = page.get_by_role("tab", name=name, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-selected", "true")


def each_tab(page: Page) -> Iterator[str]:
    """Opens each tab in turn, whatever tabs there are; its id."""
    # By what the page was sent: the bar of a group is drawn a moment after the group is chosen.
    named = page.evaluate("gradio_config.components.map((each) => each.props.elem_id)")
    for place in _ids(page, "tabs"):
        _choose(page, place)
        if f"tabs-of-{place}" not in named:
            yield place
            continue
        page.locator(f"#tabs-of-{place} {BUTTONS}").first.wait_for()
        for id in _ids(page, f"tabs-of-{place}"):
            _choose(page, id)
            yield id


def _ids(page: Page, bar: str) -> list[str]:
    buttons = page.locator(f"#{bar} {BUTTONS}")
    return buttons.evaluate_all("buttons => buttons.map(button => button.dataset.tabId)")


def _choose(page: Page, id: str) -> None:
    page.click(f"[role=tab][data-tab-id={id}]")
    button = page.locator(f"[role=tab][data-tab-id={id}]")
    expect(button.first).to_have_attribute("aria-selected", "true")
