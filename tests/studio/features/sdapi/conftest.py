"""A studio with the tiny painter and its control models, for programs of A1111's protocol."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from studio.core.services import Studio
from tests.patience import PATIENCE
from tests.studio.live import TINY, build_api, live_studio, options_for


@pytest.fixture(scope="session")
def studio_and_address(tmp_path_factory, twin_home, control_folder) -> Iterator[tuple[Studio, str]]:
    """A studio that needs no login, and its address."""
    home = tmp_path_factory.mktemp("sdapi") / "home"
    with live_studio(options_for(home, twin_home, control_folder), build_api) as running:
        yield running


@pytest.fixture
def studio(studio_and_address) -> Studio:
    return studio_and_address[0]


@pytest.fixture
def door(studio_and_address) -> Iterator[httpx.Client]:
    """A program whose model is the tiny one."""
    studio, address = studio_and_address
    studio.sdapi_memory.of("local").model = TINY
    with httpx.Client(base_url=f"{address}/sdapi/v1/", timeout=PATIENCE) as client:
        yield client
