"""What the host chooses."""

from __future__ import annotations

from studio.core.feature import Feature

FEATURE = Feature(name="settings")
