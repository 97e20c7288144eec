"""Where things lie: in the repository, and in a home folder."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ROOT / "presets"
SINGLE_FILE_CONFIGS = PRESETS / "single_file"
ASSETS = ROOT / "assets"
HUB_FOLDER = Path("models", ".hub")  # of downloads, in the home folder
