"""The healing process: ``accelerate launch … -m pipelines.chat.pruning.healing.process <folder>``.

The folder's ``heal.json`` says what to do; all that happens is written to its ``progress.jsonl``.
For exit codes see :mod:`pipelines.core.processes`.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

import torch
from accelerate import Accelerator

from pipelines.chat.pruning.folder import PruneFolder
from pipelines.chat.pruning.healing.training import Healer, Healing
from pipelines.core.devices import dtype_for, is_out_of_memory, out_of_memory
from pipelines.core.errors import Stopped
from pipelines.core.processes import DONE, FAILED, TAKEN, read_json


def main(arguments: list[str] | None = None) -> int:
    """Heals; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="<home>/prunings/<id>")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--offline", action="store_true", help="as for every process; never asks")
    options = parser.parse_args(arguments)
    path = options.folder.resolve()
    folder = PruneFolder(path.parent.parent, path.name)
    with folder.held() as mine:
        if not mine:
            return TAKEN
        precision = "bf16" if dtype_for(options.device) is torch.bfloat16 else "no"
        accelerator = Accelerator(mixed_precision=precision, cpu=options.device == "cpu")
        healing = Healing.from_json(read_json(folder.path / "heal.json") or {})
        try:
            Healer(folder, healing, accelerator).run()
            return DONE
        except Stopped:
            folder.report("stopped")
            return DONE
        except Exception as error:
            traceback.print_exc()
            if is_out_of_memory(error):
                what = f"batch size {healing.batch_size}"
                error = out_of_memory(error, str(accelerator.device), what)
            folder.report_error(error)
            return FAILED


if __name__ == "__main__":
    sys.exit(main())
