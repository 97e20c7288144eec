"""What a process that reads strangers' files may do: compute, and little else."""

from __future__ import annotations

import json
import os
import socket
import tempfile

import pytest

from pipelines.core import sandbox
from pipelines.core.child_process import LineProcess
from pipelines.core.sandbox import Files, clean_environment, environment_without_secrets
from tests.patience import PATIENCE

# Answers each request by what came of it.
TAKEN_OVER = """
import json, os, resource, socket, subprocess, sys
def read(path): return open(path).read()
def write(path): open(path, "w").write("mine"); return "written"
def delete(path): os.remove(path); return "deleted"
def run(path): return subprocess.run([path], capture_output=True).returncode
def connect(port): socket.create_connection(("127.0.0.1", port), 5).close(); return "connected"
def signal(pid): os.kill(pid, 0); return "signalled"
def environment(_): return sorted(os.environ)
def cores(_): return resource.getrlimit(resource.RLIMIT_CORE)
def compute(_): import numpy; return float(numpy.linalg.norm([3, 4]))
for line in sys.stdin:
    name, argument = json.loads(line)
    try:
        answer = globals()[name](argument)
    except OSError as error:
        answer = f"refused {error.errno}"
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A private home with a secret and a table, and temporary files beside it."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("home/tables", "temporary/atelier-other", "code", "elsewhere"):
        (folder / name).mkdir(parents=True)
    for name in ("home/secret.key", "home/tables/mine.csv", "temporary/atelier-other/task",
                 "elsewhere/data"):  # fmt: skip
        (folder / name).write_text(name)
    (folder / "code" / "taken_over.py").write_text(TAKEN_OVER)
    (folder / "elsewhere" / "link").symlink_to(folder / "home" / "secret.key")
    return folder


@pytest.fixture(scope="module")
def ask(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(place / "temporary"))
        patch.setattr(sandbox, "_private", {place / "home"})
        patch.setenv("HOME", str(place / "home"))
        patch.setenv("PYTHONPATH", str(place / "code"))
        patch.setenv("OPENAI_API_KEY", "sk-secret")
        files = Files((place / "home" / "tables",))
        process = LineProcess("taken_over", files=files)

    def answer(name: str, argument: object = None):
        process.write(json.dumps([name, argument]).encode() + b"\n")
        return json.loads(process.line(PATIENCE))

    yield answer
    process.end()


def test_it_computes_without_the_keys_of_the_studio(ask):
    assert ask("compute") == 5.0
    names = ask("environment")
    assert "PATH" in names
    assert "OPENAI_API_KEY" not in names
    assert ask("cores") == [0, 0]


@pytest.mark.landlock  # kernels without it protect less, which the README says
def test_it_has_its_files_and_nobody_elses(ask, place):
    assert ask("read", str(place / "home/tables/mine.csv")) == "home/tables/mine.csv"
    assert ask("write", str(place / "home/tables/new.csv")) == "written"
    assert ask("delete", str(place / "home/tables/new.csv")) == "deleted"
    assert ask("read", str(place / "elsewhere/data")) == "elsewhere/data"
    for path in ("home/secret.key", "temporary/atelier-other/task", "elsewhere/link"):
        assert ask("read", str(place / path)) == "refused 13", path
    for path in ("home/secret.key", "elsewhere/data", "code/taken_over.py", "elsewhere/new"):
        assert ask("write", str(place / path)) == "refused 13", path
    assert ask("delete", str(place / "elsewhere/data")) == "refused 13"
    assert ask("read", f"/proc/{os.getpid()}/environ") == "refused 13"


@pytest.mark.landlock
def test_it_starts_no_program_connects_to_nothing_and_ends_nobody(ask):
    assert ask("run", "/bin/true") == "refused 13"
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert ask("connect", server.getsockname()[1]) == "refused 13"
    assert ask("signal", os.getpid()) == "refused 1"


def test_where_the_kernel_cannot_refuse_files_it_works_as_before(monkeypatch, tmp_path):
    class Older:
        def syscall(self, *_):
            return -1

    monkeypatch.setattr(sandbox.ctypes, "CDLL", lambda *_, **__: Older())
    assert sandbox._confine([tmp_path], [tmp_path]) is False


def test_a_training_has_the_hubs_token_and_no_other(monkeypatch):
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "MY_FLAG"):
        monkeypatch.setenv(name, "x")
    assert {"HF_TOKEN", "MY_FLAG", "PATH"} <= environment_without_secrets().keys()
    assert not {"OPENAI_API_KEY", "DB_PASSWORD"} & environment_without_secrets().keys()
    assert not {"HF_TOKEN", "MY_FLAG"} & clean_environment().keys()
