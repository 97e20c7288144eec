"""The environment that the studio's libraries see: what other programs have left there, put right.

Libraries read dozens of variables when they are imported. Those that choose how our page is served
are ours to set; proxies and certificates are the user's to set, and may name what does not work.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.core.limits import available_cores

# Of these the studio sets the few that it needs itself: addresses, ports, folders, sharing, servers
# of other kinds and what a launcher of several processes leaves to its children.
_FOREIGN_PREFIXES = ("GRADIO_", "UVICORN_", "ACCELERATE_", "FSDP_", "TORCHELASTIC_", "OAUTH_")
_FOREIGN = {
    *("SPACE_ID", "SPACE_HOST", "SPACE_AUTHOR_NAME", "SPACES_ZERO_GPU", "OPENID_PROVIDER_URL"),
    *("KAGGLE_KERNEL_RUN_TYPE", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "FORK_LAUNCHED"),
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK"),
    *("MASTER_ADDR", "MASTER_PORT"),
}
_PROXIES = {"http_proxy", "https_proxy", "all_proxy"}
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_NAMES_OF_SOCKS5 = {"socks://"}  # as GNOME and KDE write it
_CERTIFICATES = {"SSL_CERT_FILE", "SSL_CERT_DIR"}
_log = logging.getLogger(__name__)


def prepare_environment() -> None:
    """Puts the variables right that libraries read; to be called before these are imported."""
    forget_foreign_settings()
    _check_certificates()
    _check_proxies()
    _check_hub()
    # Libraries ask the machine for its processors, not the service for its quota.
    if available_cores() < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))


def forget_foreign_settings() -> None:
    """Takes out what would have libraries serve another page, or train in another way, than ours.

    They are left over from other programs: ``GRADIO_ROOT_PATH`` moves the page's addresses,
    ``GRADIO_SSR_MODE`` starts another server, ``WORLD_SIZE`` has a training wait for others.
    """
    for name in list(os.environ):
        if name.startswith(_FOREIGN_PREFIXES) or name in _FOREIGN:
            del os.environ[name]
    if os.environ.get("SYSTEM") == "spaces":
        del os.environ["SYSTEM"]


def give_a_home(home: Path) -> None:
    """Has libraries keep what they keep in the studio's home where the user has none of their own.

    So it is in containers that run under a number, and for the users of services.
    """
    own = Path(os.path.expanduser("~"))
    if not own.is_absolute() or not os.access(own, os.W_OK):
        os.environ["HOME"] = str(home)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # a user with a number only; torch names a folder by it
        os.environ["LOGNAME"] = "atelier"


def open_standard_streams() -> None:
    """Has standard input, output and error lead nowhere where they were closed.

    Else the next file or connection that is opened would get their numbers, and what a library
    prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the one that is missing.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without the letters of a name
            stream.reconfigure(errors="backslashreplace")


def print_line(text: str, to_errors: bool = False) -> None:
    """Prints a line; nothing happens where nobody reads it any more (``app.py | head -1``)."""
    stream = sys.stderr if to_errors else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):
        # Further lines, and what Python would still print at the end, lead nowhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2 if to_errors else 1)
        os.close(nowhere)


def _check_proxies() -> None:
    """Takes proxies out that the HTTP library cannot use, and never sends local requests to one."""
    given = {
        name: strip_quotes(text)
        for name, text in os.environ.items()
        if name.lower() in _PROXIES and text
    }
    if not given:
        return
    exceptions = [
        part
        for name in ("no_proxy", "NO_PROXY")
        for part in re.split(r"[,;\s]", strip_quotes(os.environ.get(name, "")))
        if part
    ]
    with _environment_without(_PROXIES | {"no_proxy"}):
        for name, text in given.items():
            for other in _NAMES_OF_SOCKS5:
                if text.lower().startswith(other):
                    given[name] = text = "socks5://" + text[len(other) :]
            if (reason := _refusal(name, text)) is not None:
                given[name] = ""
                # Not the value: it may hold a password.
                _log.warning("%s is left out of account: %s", name, reason)
        usable = []
        for part in dict.fromkeys([*exceptions, *_LOCAL_NAMES]):
            if (reason := _refusal("no_proxy", part)) is None:
                usable.append(part)
            else:
                _log.warning("%s in NO_PROXY is left out of account: %s", part, reason)
    for name, text in given.items():
        if text:
            os.environ[name] = text
        else:
            del os.environ[name]
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(usable)


def strip_quotes(text: str) -> str:
    """A variable's value without blanks and quotation marks around it, as shells may leave them.

    >>> strip_quotes(' "http://127.0.0.1:7890" ')
    'http://127.0.0.1:7890'
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


def _check_hub() -> None:
    """Completes the address of a mirror of the hub that was given without ``https://``."""
    if not (address := strip_quotes(os.environ.get("HF_ENDPOINT", ""))):
        os.environ.pop("HF_ENDPOINT", None)
        return
    os.environ["HF_ENDPOINT"] = (
        address if re.match(r"https?://", address, re.IGNORECASE) else f"https://{address}"
    ).rstrip("/")


def _refusal(name: str, text: str) -> str | None:
    """Why a client cannot be made with this one variable; None where it can."""
    import httpx

    os.environ[name] = text
    try:
        httpx.Client(verify=False).close()
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        reason = "its scheme is none of http, https, socks5 and socks5h"
        return reason if "scheme" in str(error) else "it is no address"
    finally:
        del os.environ[name]
    return None


@contextmanager
def _environment_without(names: set[str]) -> Iterator[None]:
    """Inside, variables of these names (in any case) are not there."""
    held = {name: text for name, text in os.environ.items() if name.lower() in names}
    for name in held:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(held)


def _check_certificates() -> None:
    """Takes out a file or folder of certificates that is not there, or holds none.

    Likewise a file for the keys of connections, as scanners of traffic have browsers write them.
    """
    import ssl

    if path := os.environ.get("SSLKEYLOGFILE"):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).keylog_filename = path
        except OSError as error:
            reason = error.strerror or str(error)
            _log.warning("SSLKEYLOGFILE=%s is left out of account: %s", path, reason)
            del os.environ["SSLKEYLOGFILE"]
    for name in _CERTIFICATES:
        if not (path := os.environ.get(name)):
            continue
        try:
            if name == "SSL_CERT_FILE":
                ssl.create_default_context(cafile=path)
            elif not Path(path).is_dir():
                raise FileNotFoundError(path)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            _log.warning("%s=%s is left out of account: %s", name, path, reason)
            del os.environ[name]
