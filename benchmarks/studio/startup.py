"""How long until the page answers, beside what importing gradio takes on the same machine.

    python -m benchmarks.studio.startup [--runs 5]

In turn, so that a busy moment hits both: a process that does ``import gradio`` and ends, and the
studio from process start to ``GET /`` answered with 200.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 120.0


def import_seconds() -> float:
    """Seconds of ``python -c 'import gradio'``, from start to end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import gradio"], cwd=ROOT, check=True)
    return time.perf_counter() - start


def page_seconds(home: Path) -> float:
    """Seconds from the start of ``app.py`` to its first page.

    Raises:
        RuntimeError: it ended or took more than two minutes.
    """
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--home", str(home), "--offline"]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while time.perf_counter() - start < LIMIT_SECONDS and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                    answer.read()
                    return time.perf_counter() - start
            except urllib.error.URLError:
                time.sleep(0.01)
        raise RuntimeError(f"the page did not answer; exit code {process.poll()}")
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as home:
        import_seconds()  # once unmeasured: files into the page cache, .pyc written
        page_seconds(Path(home))
        pairs = [(import_seconds(), page_seconds(Path(home))) for _ in range(runs)]
    imports, pages = zip(*pairs, strict=True)
    ratio = statistics.median(pages) / statistics.median(imports)
    print(f"{'seconds':<28}{'median':>8}{'min':>8}{'max':>8}")
    for name, times in (("import gradio", imports), ("start to GET / = 200", pages)):
        print(f"{name:<28}{statistics.median(times):>8.2f}{min(times):>8.2f}{max(times):>8.2f}")
    print(f"{'ratio (target ≤ 2.5)':<28}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
