"""Downloads against a hub on the loopback."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from pipelines.core.errors import Stopped, Unavailable
from pipelines.models import downloads
from pipelines.models.catalog import Catalog, Source
from pipelines.models.downloads import (
    fetch,
    fetch_files,
    find,
    find_files,
    is_complete,
    needed_files,
    variant_of,
)
from tests.hub import Hub, serve_hub

REPO = "someone/tiny"


@pytest.fixture
def hub(twin_folder, monkeypatch):
    """A hub that has the SD 1.x twin, together with what must not be downloaded."""
    folder = twin_folder("sd1")
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    files |= {
        "README.md": b"# Tiny",
        "v1-5-pruned.safetensors": b"0" * 5000,
        "unet/diffusion_pytorch_model.bin": b"\x80\x04",
        "unet/diffusion_pytorch_model.non_ema.safetensors": b"0" * 5000,
        "safety_checker/model.safetensors": b"0" * 5000,
        "evil.py": b"raise SystemExit",
    }
    with serve_hub({REPO: files}, monkeypatch) as server:
        yield server


@pytest.fixture
def entry(tmp_path):
    sd15 = Catalog(tmp_path).get("sd15")
    return sd15.model_copy(update={"source": Source(hub=REPO), "title": "Tiny"})


def quiet(message, share):
    """Notes that nobody reads."""


def test_only_the_needed_files_are_downloaded_and_the_model_loads(hub, entry, tmp_path):
    from pipelines.diffusion.loading import load

    model = load(entry, "cpu", quiet, offline=False, home=tmp_path)
    assert model.nbytes > 10**6
    folder = tmp_path / "models" / ".hub" / "someone--tiny"
    got = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert "unet/diffusion_pytorch_model.safetensors" in got
    assert "tokenizer/tokenizer.json" in got
    assert not {name for name in got if re.search(r"\.bin|non_ema|safety|\.py|README|v1-5", name)}
    assert not {name for _, name, _ in hub.asked if re.search(r"\.bin|non_ema|\.py|v1-5", name)}


def test_progress_counts_all_bytes_up_to_the_whole(hub, entry, tmp_path):
    notes = []
    fetch(entry, tmp_path, lambda m, share: notes.append((str(m), share)), offline=False)
    shares = [share for _, share in notes]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert re.fullmatch(r"Downloading Tiny: 1\.2 MB of 1\.2 MB", notes[-1][0])


def test_what_is_here_is_not_asked_for_again(hub, entry, tmp_path):
    first = fetch(entry, tmp_path, quiet, offline=False)
    hub.asked.clear()
    assert fetch(entry, tmp_path, quiet, offline=True) == first
    assert hub.asked == []


def test_a_stopped_download_goes_on_where_it_was(hub, entry, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    large = "unet/diffusion_pytorch_model.safetensors"
    start = sum(len(hub.files[name]) for name in needed_before(hub, large))

    def stop_within(message, share):
        if share > (start + 300_000) / total(hub):
            raise Stopped

    with pytest.raises(Stopped):
        fetch(entry, tmp_path, stop_within, offline=False)
    assert not is_complete(tmp_path / "someone--tiny")
    hub.asked.clear()
    assert is_complete(fetch(entry, tmp_path, quiet, offline=False))
    ranges = {name: asked for method, name, asked in hub.asked if method == "GET" and asked}
    assert any(name.endswith(large) for name in ranges)
    assert all(int(asked[6:-1]) > 0 for asked in ranges.values())
    assert not list(tmp_path.rglob("*.part"))


def test_a_part_that_does_not_belong_to_the_file_is_thrown_away(hub, entry, tmp_path):
    large = "unet/diffusion_pytorch_model.safetensors"
    sha256 = hashlib.sha256(hub.files[large]).hexdigest()
    part = tmp_path / "someone--tiny" / f"{large}.{sha256[:16]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    with pytest.raises(Unavailable, match="arrived damaged"):
        fetch(entry, tmp_path, quiet, offline=False)
    assert is_complete(fetch(entry, tmp_path, quiet, offline=False))


def needed_before(hub: Hub, name: str) -> list[str]:
    files = needed_files(json.loads(hub.files["model_index.json"]), hub.files)
    return files[: files.index(name)]


def total(hub: Hub) -> int:
    files = needed_files(json.loads(hub.files["model_index.json"]), hub.files)
    return sum(len(hub.files[name]) for name in files)


def test_a_connection_that_breaks_is_resumed(hub, entry, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.cut = 200_000
    folder = fetch(entry, tmp_path, quiet, offline=False)
    for name in needed_files(json.loads(hub.files["model_index.json"]), hub.files):
        assert (folder / name).read_bytes() == hub.files[name]
    assert any(asked for _, _, asked in hub.asked)


def test_offline_names_the_model_and_its_size(entry, tmp_path, hub):
    with pytest.raises(Unavailable, match=r"Tiny is not on this machine.*offline.*\(2\.1 GB\)"):
        fetch(entry, tmp_path, quiet, offline=True)
    assert hub.asked == []


def test_a_gated_model_says_where_to_accept_and_how_to_give_a_token(hub, entry, tmp_path):
    hub.gate = (401, "GatedRepo")
    with pytest.raises(Unavailable, match=r"huggingface\.co/someone/tiny.*tokens.*HF_TOKEN"):
        fetch(entry.model_copy(update={"gated": True}), tmp_path, quiet, offline=False)


def test_a_gated_model_is_downloaded_with_the_token(hub, entry, tmp_path, monkeypatch):
    hub.gate, hub.token = (401, "GatedRepo"), "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert is_complete(fetch(entry, tmp_path, quiet, offline=False))


def test_a_repository_that_is_not_there_is_said_so(hub, entry, tmp_path):
    hub.gate = (404, "RepoNotFound")
    with pytest.raises(Unavailable, match="hub has no model someone/tiny, or it is private"):
        fetch(entry, tmp_path, quiet, offline=False)


def test_a_hub_that_is_down_is_one_sentence(hub, entry, tmp_path):
    hub.gate = (500, "Down")
    with pytest.raises(Unavailable, match=r"Tiny could not be downloaded .*Check the network"):
        fetch(entry, tmp_path, quiet, offline=False)


def test_no_network_is_one_sentence(hub, entry, tmp_path, monkeypatch):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(Unavailable, match=r"Tiny could not be downloaded .*Check the network"):
        fetch(entry, tmp_path, quiet, offline=False)


def test_a_model_of_pickles_only_is_refused_before_anything_large_is_downloaded(
    hub, entry, tmp_path
):
    for name in [name for name in hub.files if name.endswith(".safetensors")]:
        del hub.files[name]
    with pytest.raises(Unavailable, match=r"no \.safetensors weights"):
        fetch(entry, tmp_path, quiet, offline=False)
    assert not any(name.endswith(".bin") for _, name, _ in hub.asked)


def test_too_little_disk_is_said_before_downloading(hub, entry, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(Unavailable, match=r"Tiny takes 1\.2 MB on the disk, but 1\.0 kB are free"):
        fetch(entry, tmp_path, quiet, offline=False)


def test_what_has_arrived_already_needs_no_room_again(hub, entry, tmp_path, monkeypatch):
    folder = fetch(entry, tmp_path, quiet, offline=False)
    largest = max(folder.rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    missing = largest.stat().st_size
    largest.unlink()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage._replace(free=missing))
    assert fetch(entry, tmp_path, quiet, offline=False) == folder
    assert is_complete(folder)


def test_a_model_in_the_users_own_hub_cache_is_used_where_it_lies(
    hub, entry, tmp_path, monkeypatch
):
    own = snapshot_download(REPO, cache_dir=tmp_path / "own", endpoint=hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "own"))
    assert fetch(entry, tmp_path / "studio", quiet, offline=True) == Path(own)
    assert find("someone/else", tmp_path / "own") is None
    assert not (tmp_path / "studio").exists()


UNET = "unet/diffusion_pytorch_model.safetensors"


def files_of(hub: Hub, folder: Path, sha256: str | None = None, offline: bool = False) -> Path:
    return fetch_files(REPO, {UNET: sha256, "README.md": None}, "Two", 9, folder, quiet, offline)


def test_single_files_are_fetched_once_and_nothing_else(hub, tmp_path):
    sha256 = hashlib.sha256(hub.files[UNET]).hexdigest()
    assert find_files(REPO, [UNET], tmp_path) is None
    folder = files_of(hub, tmp_path, sha256)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        UNET,
        "README.md",
    }
    assert (folder / UNET).read_bytes() == hub.files[UNET]
    hub.asked.clear()
    assert files_of(hub, tmp_path, sha256, offline=True) == find_files(REPO, [UNET], tmp_path)
    assert hub.asked == []


def test_single_files_offline_are_one_sentence(hub, tmp_path):
    with pytest.raises(Unavailable, match=r"Two is not on this machine.*offline.*\(9 B\)"):
        files_of(hub, tmp_path, offline=True)
    assert hub.asked == []


def test_a_file_that_is_another_than_known_is_not_downloaded(hub, tmp_path):
    with pytest.raises(Unavailable, match="safetensors in someone/tiny on the hub is not the file"):
        files_of(hub, tmp_path, "0" * 64)
    assert not any(name.endswith(UNET) for _, name, _ in hub.asked)


def test_a_known_file_is_held_against_its_hash_as_it_arrives(hub, tmp_path, monkeypatch):
    sha256 = hashlib.sha256(hub.files[UNET]).hexdigest()
    monkeypatch.setattr(downloads, "_sha256", lambda path: "f" * 64)  # as if a byte had flipped
    with pytest.raises(Unavailable, match="arrived damaged"):
        files_of(hub, tmp_path, sha256)
    assert find_files(REPO, [UNET], tmp_path) is None


def test_a_file_that_the_hub_has_no_longer_is_said_so(hub, tmp_path):
    del hub.files[UNET]
    with pytest.raises(Unavailable, match=f"someone/tiny on the hub has no {UNET}"):
        files_of(hub, tmp_path)


def test_single_files_in_the_users_own_hub_cache_are_used_where_they_lie(
    hub, tmp_path, monkeypatch
):
    own = snapshot_download(REPO, cache_dir=tmp_path / "own", endpoint=hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "own"))
    assert files_of(hub, tmp_path / "studio", offline=True) == Path(own)


INDEX = {
    "_class_name": "X",
    "text_encoder": ["transformers", "T"],
    "unet": ["diffusers", "U"],
    "image_encoder": [None, None],
    "safety_checker": ["stable_diffusion", "S"],
}


def test_half_precision_is_preferred_part_by_part():
    files = [
        "text_encoder/config.json",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.fp16.safetensors",
        "unet/diffusion_pytorch_model-00001-of-00001.safetensors",
        "unet/diffusion_pytorch_model.int4.safetensors",
        "unet/deep/er.json",
        "image_encoder/config.json",
        "safety_checker/model.safetensors",
        "../outside.json",
    ]
    assert needed_files(INDEX, files) == [
        "model_index.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors.index.json",
        "unet/config.json",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.fp16.safetensors",
    ]


def test_a_folder_with_a_shard_missing_is_not_complete(tmp_path):
    for name in ("text_encoder", "unet"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "model_index.json").write_text(json.dumps(INDEX))
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").touch()
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"weight_map": dict(zip("ab", shards, strict=True))}
    (tmp_path / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "text_encoder" / shards[0]).touch()
    assert not is_complete(tmp_path)
    (tmp_path / "text_encoder" / shards[1]).touch()
    assert is_complete(tmp_path)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("model.fp16.safetensors", "fp16"),
        ("model.fp16-00001-of-00002.safetensors", "fp16"),
        ("model.bf16.safetensors", "bf16"),
        ("model.safetensors", None),
        ("model.int4.safetensors", None),
    ],
)
def test_the_variant_is_read_from_the_file_names(tmp_path, name, variant):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / name).touch()
    assert variant_of(tmp_path) == variant
