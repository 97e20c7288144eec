"""What other programs have left in the environment does not change the studio."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pipelines.core import child_process
from pipelines.core.errors import Unavailable
from studio.core import environment
from studio.core.home import find_home, readable_path

ROOT = Path(__file__).parents[3]


@pytest.fixture
def variables(monkeypatch):
    """``variables(NAME="value")``: the environment has only these, and is put back afterwards."""
    before = dict(os.environ)

    def leave(**given: str) -> None:
        os.environ.clear()
        os.environ.update({"PATH": before["PATH"], "HOME": before.get("HOME", "/"), **given})

    yield leave
    os.environ.clear()
    os.environ.update(before)


def test_settings_of_other_programs_are_forgotten_and_the_user_s_kept(variables):
    mine = {
        "HF_TOKEN": "t",
        "CUDA_VISIBLE_DEVICES": "0",
        "SYSTEM": "mine",
        "HF_ENDPOINT": "https://h",
    }
    variables(
        GRADIO_ROOT_PATH="/other", GRADIO_SSR_MODE="True", GRADIO_ALLOWED_PATHS="/",
        SPACE_ID="a/b", WEB_CONCURRENCY="x", WORLD_SIZE="8", ACCELERATE_USE_FSDP="true", **mine,
    )  # fmt: skip
    environment.prepare_environment()
    assert {name: os.environ[name] for name in mine} == mine
    assert {*os.environ} - {"PATH", "HOME", "OMP_NUM_THREADS"} == {*mine}


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("socks5://127.0.0.1:9", "socks5://127.0.0.1:9"),
        ("socks://127.0.0.1:1080/", "socks5://127.0.0.1:1080/"),
        ("SOCKS://user:secret@h:1", "socks5://user:secret@h:1"),
        ("proxy.example:3128", "proxy.example:3128"),
        (' "http://127.0.0.1:7890" ', "http://127.0.0.1:7890"),
        ("socks4://secret@127.0.0.1:9", None),
        ("http://h:port", None),
        ("http://h\x7f", None),
        ("ftp://secret@h", None),
    ],
)
@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy"])
def test_proxies_are_used_or_left_out_with_a_word(
    variables, caplog, name: str, given: str, used: str | None
):
    variables(**{name: given})
    environment.prepare_environment()
    assert os.environ.get(name) == used
    httpx.Client(verify=False).close()
    said = [each.getMessage() for each in caplog.records]
    assert [name in each for each in said] == ([True] if used is None else [])
    assert "secret" not in "".join(said)


def test_what_is_on_this_machine_is_never_asked_of_a_proxy(variables, caplog):
    variables(HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="intra.example, ::1/128, 10.0.0.0/8")
    environment.prepare_environment()
    client = httpx.Client(verify=False)
    for url in (
        "http://localhost:1/",
        "http://127.0.0.1:1/",
        "http://[::1]:1/",
        "http://intra.example",
    ):
        assert client._transport_for_url(httpx.URL(url)) is client._transport
    assert client._transport_for_url(httpx.URL("http://example.org")) is not client._transport
    assert "::1/128 in NO_PROXY is left out" in caplog.text


def test_no_proxy_at_all_leaves_the_exceptions_alone(variables):
    variables(NO_PROXY="x")
    environment.prepare_environment()
    assert os.environ["NO_PROXY"] == "x"
    assert "no_proxy" not in os.environ


def test_certificates_that_are_not_there_are_left_out(variables, tmp_path, caplog):
    (tmp_path / "empty.pem").write_text("nothing")
    for name, path in (
        ("SSL_CERT_FILE", tmp_path / "missing.pem"),
        ("SSL_CERT_FILE", tmp_path / "empty.pem"),
        ("SSL_CERT_DIR", tmp_path / "nowhere"),
    ):
        variables(**{name: str(path)})
        environment.prepare_environment()
        assert name not in os.environ
        assert f"{name}={path}" in caplog.text


def test_a_file_for_keys_of_connections_that_cannot_be_written_is_left_out(
    variables, tmp_path, caplog
):
    variables(SSLKEYLOGFILE=str(tmp_path / "away" / "keys.log"))
    environment.prepare_environment()
    assert "SSLKEYLOGFILE" not in os.environ
    assert "keys.log is left out of account: No such file" in caplog.text
    httpx.Client().close()
    variables(SSLKEYLOGFILE=str(tmp_path / "keys.log"))
    environment.prepare_environment()
    assert "SSLKEYLOGFILE" in os.environ


def test_exceptions_may_be_parted_by_semicolons_and_blanks(variables):
    variables(HTTP_PROXY="http://127.0.0.1:9", NO_PROXY='"a.example;b.example c.example"')
    environment.prepare_environment()
    client = httpx.Client(verify=False)
    for host in ("a.example", "b.example", "c.example"):
        assert client._transport_for_url(httpx.URL(f"http://{host}")) is client._transport


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("hf-mirror.com", "https://hf-mirror.com"),
        (" 'http://127.0.0.1:9/' ", "http://127.0.0.1:9"),
        ("HTTPS://hub.example", "HTTPS://hub.example"),
        (" ", None),
    ],
)
def test_the_address_of_a_mirror_of_the_hub_is_completed(variables, given, used):
    variables(HF_ENDPOINT=given)
    environment.prepare_environment()
    assert os.environ.get("HF_ENDPOINT") == used


def test_user_without_a_folder_is_asked_for_one(monkeypatch):
    def no_home(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ATELIER_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.setattr(Path, "home", classmethod(no_home))
    with pytest.raises(Unavailable, match=r"~/.atelier cannot be found.*--home"):
        find_home()
    assert readable_path(Path("/srv/atelier")) == "/srv/atelier"


def test_libraries_keep_their_things_in_the_home_of_who_has_none(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    monkeypatch.setattr(environment.getpass, "getuser", lambda: {}["uid"])
    monkeypatch.delenv("LOGNAME", raising=False)
    environment.give_a_home(tmp_path)
    assert os.environ["HOME"] == str(tmp_path)
    assert os.environ["LOGNAME"]
    monkeypatch.delenv("LOGNAME")


def test_streams_that_were_closed_lead_nowhere(tmp_path):
    code = (
        "import os, sys; from studio.core.environment import *; open_standard_streams();"
        "file = open(sys.argv[1], 'w'); print('printed'); print_line('x'); print_line('y', True);"
        "assert file.fileno() > 2; sys.stdout.isatty()"
    )
    target = tmp_path / "file"
    script = f'exec "{sys.executable}" -c "{code}" "{target}" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", script], cwd=ROOT).returncode == 0
    assert target.read_text() == ""


def test_reader_that_has_gone_ends_nothing():
    code = (
        "import sys; from studio.core.environment import print_line; sys.stdin.read();"
        "print_line('a'); print_line('b'); print('c')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.close()
    process.stdin.close()
    assert process.wait() == 0


def test_training_is_not_started_as_the_user_s_other_programs_are(monkeypatch, tmp_path):
    from accelerate.commands import launch
    from accelerate.commands.config import config_args

    others = tmp_path / "default_config.yaml"
    others.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: FSDP\nmixed_precision: fp16\n"
        "num_machines: 4\nnum_processes: 32\nmachine_rank: 3\nuse_cpu: false\ndebug: false\n"
        "main_process_ip: 10.0.0.1\nmain_process_port: 99\n"
    )
    for module in (launch, config_args):
        monkeypatch.setattr(module, "default_config_file", str(others))
    command = child_process.launch_command(
        "pipelines.dreambooth.train", child_process.WorkFolder(tmp_path), "cuda:1", offline=True
    )
    asked = launch.launch_command_parser().parse_args(command[3:])
    args = launch._validate_launch_command(asked)[0]
    assert (args.use_fsdp, args.num_machines, args.num_processes) == (False, 1, 1)
    assert (args.main_process_ip, args.mixed_precision, args.gpu_ids) == (None, "no", "1")
