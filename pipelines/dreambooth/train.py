"""The training process: ``accelerate launch … -m pipelines.dreambooth.train <folder>``.

The folder's ``training.json`` says what to do; all that happens is written to its
``progress.jsonl``. Exit code 0: done, or stopped as was asked; 1: failed, and the progress says
why; 3: another trainer is at work in this folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipelines.core.child_process import TAKEN, report_outcome
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.dreambooth.base import precision_for
from pipelines.dreambooth.data.subjects import Subject
from pipelines.dreambooth.folder import TrainingFolder
from pipelines.dreambooth.trainer import Trainer, make_accelerator
from pipelines.models.catalog import Catalog


def main(arguments: list[str] | None = None) -> int:
    """Trains; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="<home>/trainings/<id>")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--offline", action="store_true", help="never ask the hub")
    options = parser.parse_args(arguments)
    folder = TrainingFolder.at(options.folder)
    request = folder.request()
    accelerator = make_accelerator(
        precision_for(request.mixed_precision, options.device),
        options.device,
        find_unused=request.train_text_encoder,
    )
    if not accelerator.is_main_process:  # the main one holds the folder
        return _train(folder, request, accelerator, options.offline)
    with folder.hold() as mine:
        if not mine:
            return TAKEN
        return _train(folder, request, accelerator, options.offline)


def _train(folder: TrainingFolder, request, accelerator, offline: bool) -> int:
    def train() -> None:
        entry = Catalog(folder.home, own=LoraLibrary(folder.home)).get(request.model)
        photos = Subject.open(folder.home, request.subject).photos
        Trainer(folder, request, entry, photos, accelerator, offline).run()

    what = f"{request.resolution or ''} batch size {request.batch_size}".strip()
    return report_outcome(folder, train, str(accelerator.device), what)


if __name__ == "__main__":
    sys.exit(main())
