"""The routes for programs that speak OpenAI's protocol."""

from __future__ import annotations

from studio.core.feature import Feature

FEATURE = Feature(name="openai_api")
