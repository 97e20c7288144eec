"""How a full disk is told, whichever library has met it."""

from __future__ import annotations

import errno
import os
import shutil

import pytest
from safetensors import SafetensorError

from pipelines.core.files import is_full

FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, FULL),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        shutil.Error([("a", "b", f"[Errno {errno.ENOSPC}] {FULL}: 'b'")]),
        SafetensorError(f"Error while serializing: I/O error: {FULL} (os error 28)"),
    ],
)
def test_a_full_disk_is_known_by_number_or_words(error):
    assert is_full(error)


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, os.strerror(errno.EIO)), ValueError("full"), RuntimeError()]
)
def test_other_errors_are_none(error):
    assert not is_full(error)
