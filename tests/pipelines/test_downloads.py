"""Downloads against a hub on the loopback that speaks as much of the real one's API as is used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from pipelines.catalog import Catalog, Source
from pipelines.diffusion import downloads
from pipelines.diffusion.downloads import fetch, find, is_complete, needed_files, variant_of
from pipelines.errors import Stopped, Unavailable

REPO, COMMIT = "someone/tiny", "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one repository.

    Attributes:
        files: path → content.
        gate: status of every answer, with the hub's error code in it, or None.
        cut: after so many bytes of a file the connection breaks; once.
        asked: (method, path, Range header) of each request.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.gate, self.cut, self.token, self.asked = files, None, None, None, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def sibling(name: str, content: bytes) -> dict:
    """A file as the hub's API describes it; large ones are in LFS, with their hash."""
    file = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
    if name.endswith(".safetensors"):
        sha256 = hashlib.sha256(content).hexdigest()
        file["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 135}
    return file


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args) -> None:
        """Keep the test's output quiet."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):  # a client that stops reading
            super().handle()

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range")))
        allowed = hub.token is not None and self.headers.get("Authorization") == (
            f"Bearer {hub.token}"
        )
        if hub.gate is not None and not allowed:
            status, code = hub.gate
            return self.send(status, b"{}", {"X-Error-Code": code}, body)
        if path.startswith(f"/api/models/{REPO}/tree/"):
            tree = [
                {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for n, c in hub.files.items()
            ]
            return self.send(200, json.dumps(tree).encode(), {}, body)
        if path.startswith(f"/api/models/{REPO}"):
            siblings = [sibling(name, content) for name, content in hub.files.items()]
            info = {"id": REPO, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
            return self.send(200, json.dumps(info).encode(), {}, body)
        name = path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")
        if name not in hub.files:
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
        content = hub.files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if match is None:
            return self.send(200, content, headers, body)
        start = int(match[1])
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.send(206, content[start:], headers, body)

    def send(self, status: int, content: bytes, headers: dict, body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        cut, hub = self.server.cut, self.server
        if cut is not None and len(content) > cut:
            hub.cut = None
            self.wfile.write(content[:cut])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(content)


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
    server = Hub(files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/nonexistent")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent/token")
    yield server
    server.shutdown()
    server.server_close()


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
    with pytest.raises(Unavailable, match=r"Tiny takes 1\.2 MB on the disk, but 1\.0 KB are free"):
        fetch(entry, tmp_path, quiet, offline=False)


def test_a_model_in_the_users_own_hub_cache_is_used_where_it_lies(
    hub, entry, tmp_path, monkeypatch
):
    own = snapshot_download(REPO, cache_dir=tmp_path / "own", endpoint=hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "own"))
    assert fetch(entry, tmp_path / "studio", quiet, offline=True) == Path(own)
    assert find("someone/else", tmp_path / "own") is None
    assert not (tmp_path / "studio").exists()


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


def test_fetching_by_a_real_client_needs_no_torch(tmp_path):
    code = "import sys, pipelines.diffusion.downloads\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ), timeout=60)
