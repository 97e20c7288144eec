"""What the host chooses."""

from __future__ import annotations

from studio.core.feature import Feature
from studio.features.settings.tab import SettingsTab

FEATURE = Feature(name="settings", tabs=(SettingsTab,))
