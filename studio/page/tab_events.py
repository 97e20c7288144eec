"""When a tab fills itself: the first time that it is seen, on every page anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import gradio as gr

from studio.page.events import Page
from studio.page.widgets import QUIET, Visitor

UNFILLED, FILLED, BROUGHT, BROUGHT_WITH_WORDS = 0, 1, 2, 3


class TabEvents:
    """The moments of a tab: first seen, selected, or its page loaded.

    Args:
        page: of the tab.
        tab: the component whose first sight is the moment.

    Attributes:
        page, tab: those.
        stage: an event that has filled the controls for the visitor, before the tab was ever seen,
            puts ``FILLED`` here, so that :meth:`fill` does not do it again with other values; one
            that has brought a picture and nothing else puts ``BROUGHT`` here, and one that has
            brought its prompt, too, ``BROUGHT_WITH_WORDS``.
    """

    def __init__(self, page: Page, tab: gr.Tab) -> None:
        self.page, self.tab = page, tab

    @cached_property
    def stage(self) -> gr.State:
        return gr.State(UNFILLED)

    def load(self, *arguments: Any, **options: Any) -> gr.events.Dependency:
        """As ``gr.Blocks.load``, at this moment."""
        event = self.page.load(*arguments, **options)
        self.page.first_sights[event["id"]] = self.tab._id
        return event

    def fill(
        self,
        updates: Callable[[Visitor], list[Any]],
        outputs: list[Any],
        pictures: Sequence[Any] = (),
        words: Sequence[Any] = (),
    ) -> gr.events.Dependency:
        """Show ``updates(visitor)`` in ``outputs``, unless they are ``FILLED`` already.

        Args:
            pictures: those of the outputs that stay as they are where a picture was ``BROUGHT``,
                with its words or without.
            words: those that stay where they were brought with it.
        """
        left = {
            BROUGHT: {each._id for each in pictures},
            BROUGHT_WITH_WORDS: {each._id for each in (*pictures, *words)},
        }

        def unless_filled(stage: int, request: gr.Request) -> list[Any]:
            if stage == FILLED:
                return [gr.skip()] * len(outputs)
            found = updates(Visitor.of(request))
            stays = left.get(stage, ())
            return [
                gr.skip() if output._id in stays else value
                for output, value in zip(outputs, found, strict=True)
            ]

        event = self.load(unless_filled, self.stage, outputs, **QUIET)
        self.page.fills.add(event["id"])
        return event
