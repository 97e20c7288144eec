"""How the page's uploads are taken apart: each file is its sender's own, and none is left behind.

Gradio names a file by what is in it, so that two who bring the same photo would share one file, and
the first to use it would take it from the other. It also remembers every upload whose progress was
asked for.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from gradio import route_utils, routes
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException

from pipelines.core.errors import BadRequest, UserError
from studio.core.replies import Refusal, TooLarge, no_form
from studio.core.upload_ledger import arriving
from studio.i18n import language_of_request

MAX_TRACKED = 1000  # uploads


class UploadParser(route_utils.GradioMultiPartParser):
    """Reads the form of one upload into files, which go with it when it breaks off."""

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        file = self._current_part.file
        if file is None:
            raise self._refusal(
                BadRequest("What was sent is no form of files. Send each file with its name.")
            )
        file.sha.update(secrets.token_bytes(16))  # the name of the folder that it goes to
        if (reservation := arriving.get()) is not None:
            reservation.files.append(Path(file.file.name))

    async def parse(self) -> FormData:
        """The form; raises :class:`studio.core.replies.Refusal` where it cannot be read."""
        try:
            return await super().parse()
        except MultiPartException as error:
            if error.message.startswith("Too many"):
                raise self._refusal(
                    BadRequest(
                        "The form has more than {limit} files or fields, which is too many. Send "
                        "them in several goes.",
                        limit=self.max_files,
                    )
                ) from None
            if error.message.startswith("File size"):
                raise self._refusal(TooLarge(self.max_file_size)) from None
            raise self._refusal(no_form()) from None

    def _refusal(self, error: UserError) -> Refusal:
        return Refusal(error, language_of_request(self))

    @classmethod
    def take_over(cls) -> None:
        """Lets Gradio read all uploads in this way."""
        route_utils.GradioMultiPartParser = cls
        routes.file_upload_statuses = UploadProgress()


class UploadProgress(route_utils.FileUploadProgress):
    """How far uploads are, by the ids that pages make up; of the newest ones alone."""

    def track(self, upload_id: str) -> None:
        super().track(upload_id)
        while len(self._statuses) > MAX_TRACKED:
            self.stop_tracking(next(iter(self._statuses)))

    async def is_tracked(self, upload_id: str) -> bool:
        """Waits for the upload to begin; it is forgotten where that is given up."""
        try:
            return await super().is_tracked(upload_id)
        finally:
            if upload_id not in self._statuses:
                self._signals.pop(upload_id, None)

    def stop_tracking(self, upload_id: str) -> None:
        super().stop_tracking(upload_id)
        self._signals.pop(upload_id, None)
