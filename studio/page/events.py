"""The page as Gradio's blocks whose events take only what the page can send, and fail in words.

Gradio answers a value that a function cannot use with the names of its own parts, or with a
traceback in the log. Here is the one place that all events pass.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import BlockFunction
from gradio.exceptions import InvalidPathError
from gradio.utils import is_prop_update

from pipelines.core.errors import UserError, unforeseen
from pipelines.core.messages import Message
from studio.core.accounts.accounts import Owner, owner_of
from studio.core.accounts.session_owners import SessionOwners
from studio.core.replies import not_of_the_page
from studio.i18n import language_of_request, translate
from studio.page.values import check_value, readable

SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)  # the page's script makes up eleven characters
_log = logging.getLogger(__name__)


class Page(gr.Blocks):
    """A page whose events check what was sent, and answer in the visitor's language.

    Attributes:
        is_upload: whether an owner has uploaded a file, which no tab has taken yet.
        first_sights: id of a listener that waits until a tab is first seen → the tab's component.
        fills: those of them that fill the tab in.
        former_tabs: names that addresses may still have for a tab → its id.
    """

    is_upload: Callable[[Owner, Path], bool]
    first_sights: dict[int, int]
    fills: set[int]
    former_tabs: Mapping[str, str]

    def __init__(self, is_upload: Callable[[Owner, Path], bool], **options: Any) -> None:
        self.first_sights, self.fills, self.former_tabs = {}, set(), {}
        super().__init__(**options)
        self.is_upload = is_upload

    def get_config_file(self) -> dict[str, Any]:
        """As Gradio's, with what ``assets/page/address.js`` has to know."""
        return {**super().get_config_file(), "former_tabs": dict(self.former_tabs)}

    async def process_api(
        self,
        block_fn: BlockFunction | int,
        inputs: list[Any],
        state: Any,
        request: Any = None,
        iterator: Any = None,
        **more: Any,
    ) -> dict[str, Any]:
        """As Gradio's; whatever fails is an error whose sentence is meant for the visitor."""
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        try:
            if iterator is None:
                inputs = self._check(function, inputs, state, owner_of(request))
                if (event := more.get("event_data")) is not None:
                    event._data = readable(event._data) if isinstance(event._data, dict) else {}
            return await super().process_api(function, inputs, state, request, iterator, **more)
        except UserError as error:
            raise _as_toast(error.message, request) from error
        except (gr.Error, InvalidPathError) as error:  # of Gradio's own: of the values
            raise _as_toast(not_of_the_page().message, request) from error
        except Exception as error:
            _log.exception("an event of the page, %s, has failed", function.name)
            raise _as_toast(unforeseen(error), request) from error

    def handle_streaming_diffs(
        self, block_fn: BlockFunction, data: list[Any], *given: Any, **named: Any
    ) -> list[Any]:
        """As Gradio's, but an update of properties replaces the one before as a whole.

        The browser makes each value of a generator of the one before, in place: where two come at
        once, the keys that the second lacks would be gone from the first before it is drawn, and
        what it shows would stay hidden.
        """
        whole = list(data)
        sent = super().handle_streaming_diffs(block_fn, data, *given, **named)
        return [
            [["replace", [], new]]
            if is_prop_update(new) and isinstance(edits, list) and edits
            else edits
            for new, edits in zip(whole, sent, strict=True)
        ]

    def _check(self, function: BlockFunction, inputs: Any, state: Any, owner: Owner) -> list[Any]:
        if not isinstance(inputs, list) or len(inputs) < len(function.inputs):
            raise not_of_the_page()
        checked = []
        for block, value in zip(function.inputs, inputs, strict=False):
            now = state[block._id] if state is not None and block._id in state else block
            checked.append(
                None
                if block.stateful
                else check_value(
                    now, value, function.preprocess, lambda path: self.is_upload(owner, path)
                )
            )
        return checked


def check_joining(page: gr.Blocks, sessions: SessionOwners) -> None:
    """Takes only such events into a page's queue as its script sends.

    The queue keeps what it is given of every event in a table for all: one session's odd name made
    it fail at the end of each event of everybody.
    """
    join = page._queue.push

    async def push(body: Any, request: Any, username: str | None) -> Any:
        name = body.session_hash
        if body.batched or not (isinstance(name, str) and SESSION.fullmatch(name)):
            raise not_of_the_page()
        if not sessions.claim(name, owner_of(request).id):
            raise not_of_the_page()
        return await join(body=body, request=request, username=username)

    page._queue.push = push


def _as_toast(message: Message, request: gr.Request) -> gr.Error:
    language = language_of_request(request)
    return gr.Error(
        translate(message, language),
        title=translate("This did not work", language),
        print_exception=False,
    )
