"""Starts the studio: ``python app.py [--share] [--port N] …``; ``--help`` lists all flags."""

from __future__ import annotations

import argparse
import atexit
import ipaddress
import logging
import os
import re
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pipelines.core.errors import UserError
from studio.api.cross_origin import read_origin
from studio.api.proxies import read_root_path
from studio.core.accounts.accounts import Made, choose_accounts
from studio.core.environment import (
    give_a_home,
    open_standard_streams,
    prepare_environment,
    print_line,
)
from studio.core.home import find_home

if TYPE_CHECKING:
    from gradio.tunneling import Tunnel

    from studio.core.jobs.queue import Unfinished

WORKER_THREAD = "worker"  # as the queue's worker names its thread
LOG_LEVELS = ("debug", "info", "warning", "error")


def main(arguments: list[str] | None = None) -> int:
    """Runs the studio until it is stopped; the exit code."""
    open_standard_streams()
    flags = parse(arguments)
    logging.basicConfig(level=flags.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    prepare_environment()
    # Read by huggingface_hub when it is imported, much later.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if flags.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        return run(flags)
    except UserError as error:
        print_line(str(error), to_errors=True)
        return 1
    except KeyboardInterrupt:  # uvicorn raises it again after its orderly shutdown
        return 0


def run(flags: argparse.Namespace) -> int:
    """Builds the studio and serves it.

    Raises:
        UserError: it cannot start; the sentence says why.
    """
    from studio.app import build_app, open_studio
    from studio.app import warm_up as load_engines
    from studio.core.painting.first_picture import prepare_first_picture
    from studio.core.services import Options
    from studio.serving import Server, listen

    reachable = flags.share or not is_loopback(flags.host)
    home = find_home(flags.home)
    give_a_home(home)
    accounts, made = choose_accounts(flags.auth, reachable)
    listener = listen(flags.host, flags.port)
    port = listener.getsockname()[1]
    studio = open_studio(
        Options(
            home,
            tuple(accounts),
            flags.device,
            flags.budget,
            flags.offline,
            tuple(flags.allow_origin),
            flags.root_path,
            tuple(flags.without),
        )
    )
    failures: list[UserError] = []

    def warm_up() -> None:
        try:
            load_engines(studio)
        except UserError as error:  # the device that was asked for is not there
            failures.append(error)
            server.stop()

    def prepare() -> None:
        if not failures:
            prepare_first_picture(studio)

    def announce() -> None:
        host_key = studio.accounts.make_host_key() if accounts else None
        print_line(welcome(flags.host, port, made, host_key, "openai" in studio.features.doors()))
        if flags.share:
            arguments = (port, studio.home, tunnels)
            threading.Thread(target=share, args=arguments, daemon=True).start()

    tunnels: list[Tunnel] = []

    def say_goodbye() -> None:
        for tunnel in tunnels:  # a process of its own, which would outlive a SIGTERM
            tunnel.kill()
        if line := farewell(studio.unfinished):
            print_line(line)

    server = Server(build_app(studio, warm_up, prepare), announce, flags.log_level, say_goodbye)
    server.run(sockets=[listener])
    if failures:
        raise failures[0]
    return 0


def share(port: int, home: Path, tunnels: list[Tunnel]) -> None:
    """Opens the public link and prints it, or one line that says why there is none.

    Args:
        tunnels: takes the open one.
    """
    from studio.api.share import open_tunnel

    try:
        tunnels.append(open_tunnel(port, home))
        print_line(f"Share link: {tunnels[-1].url}")
    except UserError as error:
        print_line(str(error), to_errors=True)


def welcome(
    host: str, port: int, made: list[Made], host_key: str | None, openai: bool = True
) -> str:
    """What the terminal shows when the page is up.

    Args:
        openai: programs may come in by OpenAI's protocol.
    """
    local = f"http://{'[::1]' if ':' in host else '127.0.0.1'}:{port}"
    wildcard = host in ("0.0.0.0", "::")
    address = local if wildcard or is_loopback(host) else f"http://{bracket_ipv6(host)}:{port}"
    lines = [f"Atelier is at {address}"]
    if wildcard:
        lines.append(f"In your network: http://{socket.gethostname()}:{port}")
    if openai:
        lines.append(f"For other programs: {address}/v1")
    lines += [
        f"{'You, the host' if each.account.is_host else 'Guests'}: "
        f"user {each.account.name}, password {each.password}"
        for each in made
    ]
    if host_key:
        lines.append(f"Your own way in, once: {address}/login?key={host_key}")
    return "\n".join(lines)


def farewell(unfinished: Unfinished) -> str | None:
    """What the terminal shows at the end: what goes on at the next start, if anything."""
    if unfinished.running is None and not unfinished.queued:
        return None
    waiting = f"{unfinished.queued} queued job{'s' if unfinished.queued != 1 else ''}"
    parts = [
        f"the running job ({unfinished.running.replace('_', ' ')})" if unfinished.running else "",
        waiting if unfinished.queued else "",
    ]
    line = f"Atelier is closed. At the next start {' and '.join(filter(None, parts))} will go on."
    if unfinished.ending:
        line += " It is still saving what it has; that ends by itself."
    return line


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bracket_ipv6(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="app.py", description="Atelier, a studio for pictures.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    parser.add_argument(
        "--port", type=port_number, help="port to listen at (the first free one from 7860)"
    )
    parser.add_argument(
        "--share", action="store_true", help="make a public link with a password of its own"
    )
    parser.add_argument(
        "--auth",
        type=Path,
        metavar="FILE",
        help="file of users; `python -m studio.accounts add NAME --file FILE` adds one",
    )
    parser.add_argument(
        "--allow-origin",
        type=page_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this origin use the API, e.g. http://localhost:3000; may be repeated",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="DOOR",
        help="leave out an API for other programs, such as openai; may be repeated",
    )
    parser.add_argument(
        "--root-path",
        type=root_path,
        default="",
        metavar="PATH",
        help="path below which a reverse proxy serves the studio, e.g. /atelier",
    )
    parser.add_argument("--device", help="cuda, cuda:1, mps or cpu (the fastest there is)")
    parser.add_argument("--home", type=Path, help="home folder ($ATELIER_HOME or ~/.atelier)")
    parser.add_argument("--offline", action="store_true", help="never download anything")
    parser.add_argument(
        "--budget",
        type=byte_count,
        metavar="GB",
        help="memory for models on the device, e.g. 8 or 500MB (most of what is free)",
    )
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="warning", help="(%(default)s)")
    return parser.parse_args(arguments)


def port_number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; give 1 to 65535")
    return int(text)


def page_origin(text: str) -> str:
    try:
        return read_origin(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text} is not an origin; give scheme, host and port of one page's address, such as "
            "http://localhost:3000"
        ) from None


def root_path(text: str) -> str:
    try:
        return read_root_path(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text} is not a path; give what stands between the host's name and the page, such as "
            "/atelier"
        ) from None


def byte_count(text: str) -> int:
    """``"8"``, ``"8GB"`` or ``"500 MB"`` in bytes; without a unit GB are meant."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(GB|MB)?", text.strip(), re.IGNORECASE)
    size = match and int(float(match[1]) * (10**6 if (match[2] or "").upper() == "MB" else 10**9))
    if not size:
        raise argparse.ArgumentTypeError(f"{text} is not a size; give one such as 8 or 500MB")
    return size


def leave(code: int) -> NoReturn:
    """Ends the process, also where a thread is still in the midst of a long computation.

    Python's own end would take away what that thread works on, and the process would crash.
    """
    if any(each.name == WORKER_THREAD and each.is_alive() for each in threading.enumerate()):
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
