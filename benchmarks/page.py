"""When a page can be used, and what opening one costs the browser.

    python -m benchmarks.page [--loads 5]

Each load is a browser of its own, without a cache, against a studio that has been asked before. A
page is usable when a prompt has been typed, Paint pressed and the job answered: the time runs from
the navigation to the job's first word in the panel, and does not contain the painting. Beside it
stand the components and listeners that the server sends, the elements of the document, the bytes
on the wire, and the CPU time of the browser's processes. To reach: 2 s at the median of five loads
on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

from benchmarks.common.machine import processor
from benchmarks.visitors import Studio, children

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TARGET_SECONDS = 2.0
CONFIG = re.compile(r"window\.gradio_config\s*=\s*(\{.*?\});\s*</script>", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--loads", type=int, default=5)
    options = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        studio = Studio(Path(home))
        try:
            load(playwright, studio)  # the server's caches and the model, once unmeasured
            loads = [load(playwright, studio) for _ in range(options.loads)]
        finally:
            studio.close()
    print(f"\n{'':<34}{'median':>10}{'least':>10}{'most':>10}")
    for name in loads[0]:
        values = [each[name] for each in loads]
        row = (statistics.median(values), min(values), max(values))
        print(f"{name:<34}" + "".join(f"{value:>10.4g}" for value in row))
    print(f"\nTo reach: usable within {TARGET_SECONDS:g} s at the median.")


def load(playwright: Playwright, studio: Studio) -> dict[str, float]:
    """One load in a new browser: what was measured, by name."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
    try:
        return measure(browser, studio)
    finally:
        browser.close()


def measure(browser: Browser, studio: Studio) -> dict[str, float]:
    """Signs the host in by the API, opens the page, types a prompt and presses Paint."""
    context = browser.new_context(locale="en-GB")
    form = {"name": "host", "password": studio.passwords["host"]}
    signed_in = context.request.post(f"{studio.address}/login", form=form, max_redirects=0)
    assert signed_in.status == 303, signed_in.text()
    page = context.new_page()
    wire = context.new_cdp_session(page)
    received: list[float] = []
    wire.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    wire.send("Network.enable")
    before, start = cpu_seconds(), time.perf_counter()
    answer = page.goto(studio.address, wait_until="commit")
    page.fill("#prompt textarea", "a red mug on a wooden floor")
    typed = time.perf_counter() - start
    page.click("#paint")
    page.locator("#paint-panel .progress, #paint-panel .summary").first.wait_for()
    usable = time.perf_counter() - start
    cpu = cpu_seconds() - before
    page.click("#cancel")
    config = json.loads(CONFIG.search(answer.text())[1])
    return {
        "a prompt is typed after, s": typed,
        "Paint is answered after, s": usable,
        "CPU of the browser until then, s": cpu,
        "components": len(config["components"]),
        "listeners": len(config["dependencies"]),
        "elements of the document": page.evaluate("document.querySelectorAll('*').length"),
        "kB received": sum(received) / 1e3,
    }


def cpu_seconds() -> float:
    """Seconds of CPU that the browser's processes have taken so far."""
    ticks = 0
    for pid in children(os.getpid()):
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        except OSError:
            continue
        if "chrom" in name:
            ticks += sum(int(field) for field in rest.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
