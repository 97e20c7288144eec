"""The healing process: ``accelerate launch … -m pipelines.chat.pruning.healing.process <folder>``.

The folder's ``heal.json`` says what to do; all that happens is written to its ``progress.jsonl``.
For exit codes see :mod:`pipelines.core.child_process`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from pipelines.chat.pruning.folder import PruneFolder
from pipelines.chat.pruning.healing.training import Healer, Healing
from pipelines.core.child_process import TAKEN, read_json, report_outcome
from pipelines.core.devices import dtype_for


def main(arguments: list[str] | None = None) -> int:
    """Heals; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="<home>/prunings/<id>")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--offline", action="store_true", help="as for every process; never asks")
    options = parser.parse_args(arguments)
    path = options.folder.resolve()
    folder = PruneFolder(path.parent.parent, path.name)
    with folder.hold() as mine:
        if not mine:
            return TAKEN
        precision = "bf16" if dtype_for(options.device) is torch.bfloat16 else "no"
        accelerator = Accelerator(mixed_precision=precision, cpu=options.device == "cpu")
        healing = Healing.from_json(read_json(folder.path / "heal.json") or {})
        work = Healer(folder, healing, accelerator).run
        what = f"batch size {healing.batch_size}"
        return report_outcome(folder, work, str(accelerator.device), what)


if __name__ == "__main__":
    sys.exit(main())
