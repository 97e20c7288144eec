"""When a tab fills itself: the first one as the page loads, the others when they are first opened.

Every control that an event may change costs the browser a walk through the whole page. A tab that
nobody looks at should cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import gradio as gr

from studio.page.widgets import QUIET, Visitor

UNSEEN, SEEN, FILLED = 0, 1, 2


class Opening:
    """The first sight of a tab, on every page anew.

    Args:
        page: of the tab.
        tab: whose first opening is the moment.
        at_load: the tab is open when the page has loaded; that is the moment.

    Attributes:
        page, tab: those.
        stage: an event that has filled the controls for the visitor, before the tab was ever seen,
            puts ``FILLED`` here, so that :meth:`fill` does not do it again with other values.
    """

    def __init__(self, page: gr.Blocks, tab: gr.Tab, at_load: bool = False) -> None:
        self.page, self.tab, self._at_load = page, tab, at_load

    @cached_property
    def stage(self) -> gr.State:
        stage = gr.State(UNSEEN)
        if not self._at_load:
            self.tab.select(lambda stage: stage or SEEN, stage, stage, **QUIET)
        return stage

    @property
    def _moment(self) -> Callable[..., gr.events.Dependency]:
        return self.page.load if self._at_load else self.stage.change

    def load(self, *arguments: Any, **options: Any) -> gr.events.Dependency:
        """As ``gr.Blocks.load``, at this moment."""
        return self._moment(*arguments, **options)

    def fill(
        self, updates: Callable[[Visitor], list[Any]], outputs: list[Any]
    ) -> gr.events.Dependency:
        """Show ``updates(visitor)`` in ``outputs``, unless they are ``FILLED`` already."""

        def unless_filled(stage: int, request: gr.Request) -> list[Any]:
            if stage == FILLED:
                return [gr.skip()] * len(outputs)
            return updates(Visitor.of(request))

        return self._moment(unless_filled, self.stage, outputs, **QUIET)
