"""A public link to the page, through Gradio's share servers."""

from __future__ import annotations

import secrets
from pathlib import Path

import httpx
from gradio.networking import GRADIO_API_SERVER
from gradio.tunneling import TUNNEL_ERROR_MESSAGE, Tunnel

from pipelines.core.errors import Unavailable

TIMEOUT_SECONDS = 15
NO_ANSWER = "gradio.live cannot be reached"


def open_tunnel(port: int, home: Path) -> Tunnel:
    """Makes ``127.0.0.1:port`` reachable under ``tunnel.url``, until ``tunnel.kill()``.

    As ``gradio.networking.setup_tunnel``, which however writes its certificate to the current
    folder, while the studio writes to its home only.

    Raises:
        Unavailable: the sentence gives the reason.
    """
    try:
        server = httpx.get(GRADIO_API_SERVER, timeout=TIMEOUT_SECONDS).raise_for_status().json()[0]
        certificate = home / "share.pem"
        certificate.write_text(server["root_ca"], encoding="ascii")
        tunnel = Tunnel(
            server["host"],
            int(server["port"]),
            "127.0.0.1",
            port,
            secrets.token_urlsafe(32),
            str(certificate),
        )
        tunnel.start_tunnel()
    # httpx, the file system, the share server's answer and frpc's log: what fails is said below.
    except Exception as error:
        raise Unavailable(
            "No share link: {reason}. The page stays up on this machine.", reason=_reason(error)
        ) from error
    return tunnel


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.TransportError):
        return f"{NO_ANSWER} ({error})" if str(error) else NO_ANSWER
    lines = str(error).removeprefix(TUNNEL_ERROR_MESSAGE).strip().splitlines()
    return (lines[-1] if lines else NO_ANSWER).rstrip(".")
