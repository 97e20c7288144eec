"""One odd name in a folder of models leaves all others in their lists."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipelines.chat.catalog import ChatCatalog
from pipelines.core.errors import NotFound
from pipelines.core.files import readable_name, refused_name
from pipelines.diffusion import user_samplers
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.models.catalog import Catalog

pytestmark = pytest.mark.any_file_name

LATIN = b"caf\xe9"  # "café" as Windows and old archives write it


def put(folder: Path, name: bytes, content: bytes = b"x") -> None:
    folder.mkdir(exist_ok=True)
    with open(os.path.join(os.fsencode(folder), name), "wb") as file:
        file.write(content)


@pytest.fixture
def home(tmp_path):
    put(tmp_path / "models", LATIN + b".safetensors")
    return tmp_path


def test_names_are_made_readable(home):
    (path,) = (home / "models").iterdir()
    assert readable_name(path) == "caf�.safetensors"
    assert str(refused_name(path)).startswith("The name caf�.safetensors is not")
    assert refused_name(Path("café")) is None


def test_models_are_listed_beside_one_that_has_to_be_renamed(home):
    put(home / "models", b"\xff.ckpt")
    os.mkdir(os.path.join(os.fsencode(home / "models"), b"fold\xe9r"))
    os.mkfifo(home / "models" / "pipe.safetensors")
    (home / "models" / "away.safetensors").symlink_to("/nonexistent/x.safetensors")
    entries = {entry.name: entry for entry in Catalog(home).models()}
    odd = ["caf�.safetensors", "�.ckpt", "fold�r"]
    assert {*odd, "away"} <= {*entries}
    assert len(entries) > 4
    assert "pipe" not in entries
    for name in odd:
        assert "is not written in UTF-8. Rename it." in str(entries[name].refused)
        json.dumps(entries[name].model_dump(mode="json", exclude={"refused"})).encode()
    assert entries["away"].refused is not None


def test_language_models_are_listed_beside_one_that_has_to_be_renamed(home):
    put(home / "chat", LATIN + b".yaml", b"backend: remote\nurl: http://h/v1\n")
    put(home / "chat", b"a\tb.yaml", b"nonsense")
    put(home / "chat", b"x" * 230 + b".yaml", b"nonsense")
    entries = {entry.name: entry for entry in ChatCatalog(home).models()}
    assert "is not written in UTF-8" in str(entries["caf�"].refused)
    assert {"a�b", "x" * 200} <= {*entries}
    assert len(entries) > 3


def test_control_models_samplers_and_loras_are_listed_beside_one_that_has_to_be_renamed(home):
    put(home / "control", LATIN + b".safetensors")
    assert ControlCatalog(home).models()
    put(home / "samplers", LATIN + b".py", b"class OwnScheduler(SchedulerMixin): pass")
    put(home / "samplers", b"own.py", b"class FineScheduler(SchedulerMixin): pass")
    found, broken = user_samplers.find(home / "samplers")
    assert [each.name for each in found] == ["Fine"]
    assert [each.file for each in broken] == ["caf�.py"]
    put(home / "loras", LATIN + b".safetensors")
    library = LoraLibrary(home)
    assert library.list("ada") == []
    (refused,) = library.list_refusals()
    assert str(refused).startswith("The name caf�.safetensors is not")
    for search in (lambda: library.get("ada", "another"), lambda: library.by_id("0" * 32)):
        with pytest.raises(NotFound):
            search()
