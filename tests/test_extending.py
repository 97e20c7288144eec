"""What the README says of extending Atelier works as it is written there.

What the feature, its fifth kind, does once it is installed is tried in a browser:
tests/browser/page/test_packages.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pipelines.chat.catalog import ChatCatalog
from pipelines.core.paths import ROOT
from pipelines.diffusion.samplers import samplers_in
from pipelines.diffusion.styles import PRESETS, styles
from pipelines.models.catalog import Catalog
from studio.features import GROUP
from tests.packages import PALETTE, import_from


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """The code of the README's section: sampler, model, style, chat model, feature."""
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


def test_a_feature(blocks, tmp_path):
    """pip builds and installs it, by its environment into a folder and without a network."""
    shutil.copytree(PALETTE, tmp_path / PALETTE.relative_to(ROOT))  # pip builds beside the source
    site = tmp_path / "site"
    settings = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PIP_TARGET": str(site),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # its own word for: none
        "PIP_CONFIG_FILE": os.devnull,
    }
    command, environment = ["sh", "-ec", blocks[4]], os.environ | settings
    done = subprocess.run(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    with import_from(site):
        (entry,) = entry_points(group=GROUP)
        feature = entry.load()
    assert (entry.name, feature.name) == ("palette", "palette")
    assert (feature.texts / "zh.yaml").is_file()
    assert len(blocks) == 5
