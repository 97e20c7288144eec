"""Everything that needs a GPU to be measured, by one command that ends within nine minutes.

    python -m benchmarks.gpu [--minutes 9] [--only text-to-image control training chat]

Random weights of the true shapes stand in for the public ones: Stable Diffusion 1.5 at 512×512
(evaluations a second, control models, LoRA training) and LLaMA 3 8B (tokens a second). Each part
runs in a process of its own, which gets an equal share of the time that is left: a part that runs
over, fails or takes the memory down is named, and the others still run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

UNMEASURED = 3  # the exit code where a part failed or ran over


def text_to_image() -> None:
    """The bare UNet in eager mode and compiled, against Atelier's whole loop."""
    from benchmarks.text_to_image import full_size_unet

    full_size_unet(rounds=5)


def control() -> None:
    """A picture without and with ControlNet and T2I-Adapter: seconds and memory."""
    from benchmarks.control import full_size

    full_size(rounds=3, steps=20)


def train() -> None:
    """The trainer against diffusers' loop, in batches of 1 and 4, bf16: steps a second, memory."""
    from benchmarks.training import train_speed

    options = ["--model", "sd15-random", "--seconds", "10", "--rounds", "1", "--photo-side", "2048"]
    sys.argv = ["train_speed", *options, "--batch", "1", "4", "--precision", "bf16"]
    train_speed.main()


def chat() -> None:
    """A model of LLaMA 3 8B's shape in bf16, compiled, and in 4 bits."""
    from benchmarks.chat_gpu import measure

    measure()


PARTS: dict[str, Callable[[], None]] = {
    "text-to-image": text_to_image,
    "control": control,
    "chat": chat,
    "training": train,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=9, help="when all of it ends")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        PARTS[options.part]()
        return 0
    import torch

    if not torch.cuda.is_available():
        sys.exit("No CUDA device is seen here: nothing of this can be measured.")
    print(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}", flush=True)
    return run_in_turn(options.only, 60 * options.minutes)


def run_in_turn(names: list[str], seconds: float) -> int:
    """Runs parts one after the other within a number of seconds; 0 where all were measured."""
    end = time.monotonic() + seconds
    failed = []
    for at, name in enumerate(names):
        limit = (end - time.monotonic()) / (len(names) - at)
        print(f"\n== {name}: {PARTS[name].__doc__}", flush=True)
        started = time.monotonic()
        # Its own output goes straight to the terminal: nothing is lost where it is killed.
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", name]
        part = subprocess.Popen(command, start_new_session=True)
        try:
            code = part.wait(limit)
            trouble = f"ended with exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            trouble = f"ran over its {limit:.0f} s"
        finally:  # with the processes that it has started itself
            with contextlib.suppress(ProcessLookupError):
                os.killpg(part.pid, signal.SIGKILL)
        if trouble:
            failed.append(name)
        print(f"== {name}: {trouble or 'measured'}, {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        print(f"\nUnmeasured, in whole or in part: {', '.join(failed)}.")
    return UNMEASURED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
