"""The renderer is compiled before a test uses it."""

from __future__ import annotations

from tests.compiling import renderer

__all__ = ["renderer"]
