"""How fast a live picture follows a key, and how many pictures a second are seen.

    python -m benchmarks.live [--steps 2 4 8 …] [--keys 30] [--seconds 6]

Chromium has the page of a studio open, with the starter at 128 pixels and Live switched on. Each
key press is an arrow up in the seed's field, so that each asks for another picture. The time runs
from the key's event to the frame with the decoded picture, one key after another; then the key is
held, and the pictures that come meanwhile are counted. Each number of steps is measured with the
model's own guidance and without any, which halves the work. To reach: 5 pictures a second at 128.
The starter has no student of four steps yet: fewer than about eight steps are quick, not good.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.page import CHROMIUM, FLAGS
from benchmarks.visitors import Studio

TARGET = 5.0  # pictures a second
PATIENCE_MS = 300_000.0  # converting the model for this processor takes a while
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")

# Tells when keys were pressed and when another picture was on the page; ms of performance.now().
WATCH = """() => {
  window.seen = [];
  const name = '#live-picture';
  const look = async () => {
    const picture = document.querySelector(`${name} img`);
    if (!picture || picture.src === window.last) return;
    const { src } = picture;
    window.last = src;
    await picture.decode().catch(() => {});
    requestAnimationFrame(() => setTimeout(() => window.seen.push(performance.now())));
  };
  new MutationObserver(look).observe(document.querySelector(name), {
    subtree: true, childList: true, attributes: true, attributeFilter: ['src'],
  });
  document.addEventListener('keydown', () => { window.pressed = performance.now(); }, true);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4, 6, 8, 12, 25])
    parser.add_argument("--keys", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    print(processor())
    print(f"load before: {os.getloadavg()[0]:.1f}\n")
    print(f"{'steps':>5} {'guidance':>9} {'median, ms':>11} {'95th, ms':>9} {'pictures/s':>11}")
    fastest: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        studio = Studio(Path(home))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            page = open_page(browser.new_context(locale="en-GB"), studio)
            own = page.input_value("#guidance input[type=number]")
            for guidance in (own, "1"):
                put(page, "guidance", guidance)
                for steps in options.steps:
                    put(page, "steps", str(steps))
                    times = press_keys(page, options.keys)
                    rate = hold_key(page, options.seconds)
                    if rate >= TARGET:
                        fastest[guidance] = max(steps, fastest.get(guidance, 0))
                    row = f"{steps:>5} {guidance:>9} {statistics.median(times):>11.0f}"
                    late = statistics.quantiles(times, n=20)[-1]
                    print(f"{row} {late:>9.0f} {rate:>11.1f}", flush=True)
        finally:
            browser.close()
            studio.close()
    print(f"\nTo reach: {TARGET:g} pictures a second. The most steps at which that is so:", end=" ")
    print(", ".join(f"{fastest.get(each, 'none')} with guidance {each}" for each in (own, "1")))


def open_page(context, studio: Studio) -> Page:
    """The page of the host, with Live on and its first picture painted."""
    form = {"name": "host", "password": studio.passwords["host"]}
    context.request.post(f"{studio.address}/login", form=form, max_redirects=0)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(studio.address)
    page.locator("#about-model > *").first.wait_for(state="attached")
    page.wait_for_function("document.querySelector('#about-model').textContent.trim() !== ''")
    page.fill("#prompt textarea", "a red mug on a wooden floor")
    page.fill("#seed input", "1")
    put(page, "steps", "2")
    page.evaluate(WATCH)
    page.check("#live input")
    page.wait_for_function("window.seen.length > 0", polling=20)
    return page


def put(page: Page, name: str, value: str) -> None:
    page.fill(f"#{name} input[type=number]", value)
    page.wait_for_timeout(3000)  # what that has asked for has been painted


def press_keys(page: Page, keys: int) -> list[float]:
    """Presses one key after another; ms from each to its picture. The first few do not count."""
    page.focus("#seed input")
    times = []
    for at in range(keys + 3):
        before = page.evaluate("window.seen.length")
        page.keyboard.press("ArrowUp")
        page.wait_for_function("(n) => window.seen.length > n", arg=before, polling=5)
        taken = page.evaluate("window.seen[window.seen.length - 1] - window.pressed")
        times += [taken] if at >= 3 else []
        page.wait_for_timeout(100)  # as a hand rests between two keys
    return times


def hold_key(page: Page, seconds: float) -> float:
    """Pictures a second while a key is held."""
    page.focus("#seed input")
    before, start = page.evaluate("window.seen.length"), time.perf_counter()
    while time.perf_counter() - start < seconds:
        page.keyboard.press("ArrowUp")
        page.wait_for_timeout(30)
    seen = page.evaluate("window.seen.length") - before
    return seen / (time.perf_counter() - start)


def processor() -> str:
    """The processor's name, cores and what of its instructions matters here."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*:\s*(.+)", facts)
    flags = re.search(r"flags\s*:\s*(.+)", facts)
    has = [each for each in FEATURES if flags and each in flags[1].split()]
    title = name[1] if name else "unknown processor"
    return f"{title}, {os.cpu_count()} cores, {', '.join(has) or 'without AVX2'}"


if __name__ == "__main__":
    main()
