"""A real nginx between a test and the studio, run by the test's own user in a folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.needs import NGINX
from tests.patience import PATIENCE, wait_until

# What Gradio's own guide recommends ("Running Gradio on your web server with nginx").
AS_GRADIO_S_GUIDE = """
proxy_buffering off;
proxy_redirect off;
proxy_http_version 1.1;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection "upgrade";
proxy_set_header Host $host;
proxy_set_header X-Forwarded-Host $host;
proxy_set_header X-Forwarded-Proto $scheme;
"""

CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port}{ssl};
        {certificate}
        location {path} {{
            proxy_pass {upstream};
            {headers}
        }}
    }}
}}
"""


@contextmanager
def nginx(
    folder: Path,
    studio: str,
    path: str = "/",
    headers: str = AS_GRADIO_S_GUIDE,
    strips: bool = True,
    https: bool = False,
) -> Iterator[str]:
    """The address without a slash at its end by which nginx serves the studio at ``studio``.

    Args:
        folder: for its files.
        path: of the location; one below the root ends with a slash.
        headers: what stands in the location besides.
        strips: it takes the location's path off.
        https: it speaks https with a certificate that it signs itself.
    """
    folder.mkdir(exist_ok=True)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    text = CONFIGURATION.format(
        # Started by root, its workers would be nobody's, who may not write into the folder.
        user="user root;" if os.geteuid() == 0 else "",
        folder=folder,
        port=port,
        path=path,
        upstream=f"{studio}/" if strips else studio,
        headers=headers,
        ssl=" ssl" if https else "",
        certificate=_certificate(folder) if https else "",
    )
    (folder / "nginx.conf").write_text(text)
    command = [NGINX, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
    # It takes the listener over, as from an older nginx: the port is never free for others.
    inherited = os.environ | {"NGINX": f"{listener.fileno()};"}
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env=inherited, pass_fds=[listener.fileno()]
    )
    try:
        with listener:
            pid = folder / "pid"
            wait_until(lambda: process.poll() is not None or (pid.exists() and pid.read_text()))
            assert process.poll() is None, (folder / "error.log").read_text()
        yield f"{'https' if https else 'http'}://127.0.0.1:{port}{path.rstrip('/')}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def readme_recipe() -> str:
    """What the README has nginx say in the location, but for where the studio is."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    lines = text.partition("```nginx\n")[2].partition("```")[0].splitlines()[1:-1]
    return "\n".join(line for line in lines if "proxy_pass" not in line)


def _certificate(folder: Path) -> str:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return f"ssl_certificate {certificate}; ssl_certificate_key {key};"
