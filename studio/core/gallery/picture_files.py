"""The files of pictures below ``outputs/``: written, looked for, and found again.

Parts of ``outputs/`` may be links to other disks, and a disk may be away for a while. So nothing is
concluded from a file that is not there but that it is not there now.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from pipelines.core.errors import Unavailable
from pipelines.core.files import is_temporary
from studio.core.gallery.metadata import save_png
from studio.core.home import DiskFull, write_file

ELSEWHERE = "elsewhere"  # where pictures go while their owner's folder cannot be written to
_NOTES = ".unwritten"  # rows that the database has not taken yet
_log = logging.getLogger(__name__)


class PictureFiles:
    """All files below one ``outputs/``; whose they are and what they show is not its concern.

    Args:
        outputs: the folder.
    """

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self._notes = outputs / _NOTES

    def write(
        self, image: Image.Image, owner_folder: str, picture_id: str, inside: str | None
    ) -> tuple[str, int]:
        """Writes a PNG; its path below the folder and its bytes.

        Args:
            inside: the settings to put into it, or None.

        Raises:
            DiskFull: there is no room for it.
            Unavailable: it can be written to no folder; with the reason.
        """
        file = f"{owner_folder}/{time.strftime('%Y-%m-%d')}/{picture_id}.png"
        try:
            return file, save_png(image, self.outputs / file, inside)
        except DiskFull:
            raise
        except OSError as error:  # such as a link to a disk that is away
            _log.warning("%s cannot be written to: %s", self.outputs / owner_folder, error.strerror)
        try:
            return f"{ELSEWHERE}/{file}", save_png(image, self.outputs / ELSEWHERE / file, inside)
        except OSError as error:
            raise Unavailable(
                "The picture cannot be written: {reason}. See that the disk of the studio's "
                "pictures is there and can be written to, then send the job again.",
                reason=error.strerror or str(error),
            ) from error

    def is_there(self, file: str) -> bool:
        """Whether a file can be read now."""
        return (self.outputs / file).is_file()

    def present(self, files: Iterable[str]) -> set[str]:
        """Those of ``files`` that are there now; each folder is read once, through links too."""
        wanted = set(files)
        found = set()
        for folder in {PurePosixPath(file).parent for file in wanted}:
            with contextlib.suppress(OSError):
                names = (folder / path.name for path in (self.outputs / folder).iterdir())
                found |= wanted.intersection(map(str, names))
        return found

    def sweep(self, files: Iterable[str]) -> None:
        """Removes what a killed studio has left half written.

        Args:
            files: of pictures; their folders are gone through where they are links as well.
        """
        linked = {self.outputs / PurePosixPath(file).parent for file in files}
        found = {path for folder in linked for path in _temporaries(folder.glob("*"))}
        for path in found | {*_temporaries(self.outputs.rglob("*"))}:
            _log.info("removing %s, left over from an interrupted writing", path.name)
            path.unlink(missing_ok=True)

    # --- rows that the database has not taken yet -------------------------------------------

    def note(self, row: dict[str, Any]) -> None:
        """Keeps the row of a picture whose file is written until the database takes it."""
        write_file(self._notes / f"{row['id']}.json", json.dumps(row).encode())

    def forget_note(self, picture_id: str) -> None:
        (self._notes / f"{picture_id}.json").unlink(missing_ok=True)

    def notes(self) -> list[dict[str, Any]]:
        """The rows that are kept, of pictures that are there."""
        rows = []
        for path in sorted(self._notes.glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                row = json.loads(path.read_text(encoding="utf-8"))
                if self.is_there(row["file"]):
                    rows.append(row)
        return rows


def _temporaries(paths: Iterator[Path]) -> list[Path]:
    with contextlib.suppress(OSError):  # the folder is away
        return [path for path in paths if is_temporary(path.name) and path.is_file()]
    return []
