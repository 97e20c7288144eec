"""One's own pictures."""

from __future__ import annotations

from studio.core.feature import Feature

FEATURE = Feature(name="gallery")
