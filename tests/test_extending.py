"""What the README says of extending Atelier works as it is written there.

The feature, its fifth kind, is tried in a browser: tests/browser/page/test_packages.py.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from pipelines.chat.catalog import ChatCatalog
from pipelines.core.paths import ROOT
from pipelines.diffusion.samplers import samplers_in
from pipelines.diffusion.styles import PRESETS, styles
from pipelines.models.catalog import Catalog


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """The code of the README's section, sampler, model, style, chat model."""
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.partition("### Extend it\n")[2]
    return re.findall(r"```\w*\n(.*?)```", section, re.DOTALL)


def write_preset(home: Path, block: str) -> Path:
    """The file that a block names in its first line, below ``home``."""
    name = re.match(r"# ~/\.atelier/(\S+)", block)
    path = home / name[1]
    path.parent.mkdir()
    path.write_text(block, "utf-8")
    return path


def test_a_sampler(blocks, tmp_path):
    write_preset(tmp_path, blocks[0])
    assert any("Gentle" in each.name for each in samplers_in(tmp_path))


def test_a_model(blocks, tmp_path):
    subprocess.run(
        ["sh", "-ec", blocks[1]], cwd=ROOT, check=True, env={**os.environ, "HOME": str(tmp_path)}
    )
    found = {each.name: each for each in Catalog(tmp_path / ".atelier").models()}
    assert found["my-toys"].refused is None


def test_a_style(blocks, tmp_path):
    presets = tmp_path / "styles.yaml"
    presets.write_text(PRESETS.read_text("utf-8") + blocks[2], "utf-8")
    assert styles(presets)["Woodcut"].apply("a cat", "")[0].startswith("woodcut of a cat, bold")


def test_a_chat_model(blocks, tmp_path):
    path = write_preset(tmp_path, blocks[3])
    entry = ChatCatalog(tmp_path).get(path.stem)
    assert entry.refused is None
    assert entry.remote_model == "smollm2-135m"
