"""Converted networks without their weights, which ship with Atelier for the starter's shapes.

OpenVINO keeps a network as a topology (``.xml``) and a file of constants (``.bin``). To trace a
module and to translate the trace takes seconds, and depends on the shapes of its weights only. What
comes out is kept together with a list of which constant is which weight, so that any weights of the
same shapes become a network by being written in that order.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pipelines.core.paths import ASSETS

SHIPPED = ASSETS / "starter" / "networks"
_MADE_BY = ("openvino", "torch", "diffusers")


def convert(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> Any:
    """The module as an ``openvino.Model`` of free sizes, traced with the inputs of one row."""
    import warnings

    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from pipelines.core.quiet_openvino import openvino

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer's remarks on shapes that we keep fixed
        # The tracer would trace twice and compare, which is a third of the whole conversion.
        traced = TorchScriptPythonDecoder(
            module, example_input=example, trace_kwargs={"check_trace": False}
        )
        return openvino.convert_model(traced, example_input=example)


def topology_of(module: torch.nn.Module, facts: Mapping[str, Any]) -> Path | None:
    """The topology that ships of all modules of this shape; None where there is none.

    Those of other versions of the libraries do not count: they may compute in another order.
    """
    path = SHIPPED / f"{_name_of(module, facts)}.xml"
    return path if path.is_file() and path.with_suffix(".json").is_file() else None


def write_network(topology: Path, module: torch.nn.Module, target: Path) -> None:
    """Writes the module's network to ``target`` (``.xml``, and ``.bin`` beside it)."""
    contents = json.loads(topology.with_suffix(".json").read_text(encoding="utf-8"))
    weights = module.state_dict()
    with target.with_suffix(".bin").open("wb") as file:
        file.truncate(contents["bytes"])
        for offset, name in contents["weights"]:
            file.seek(offset)
            file.write(weights[name].detach().float().contiguous().numpy())
        for offset, literal in contents["literals"]:
            file.seek(offset)
            file.write(base64.b64decode(literal))
    shutil.copyfile(topology, target)


def make_topology(
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    facts: Mapping[str, Any],
    folder: Path,
) -> Path:
    """Converts a module and keeps its topology in ``folder``; its weights become random.

    Raises:
        ValueError: a constant of the network was computed from weights, so others cannot take
            their place.
    """
    from pipelines.core.quiet_openvino import openvino

    folder.mkdir(parents=True, exist_ok=True)
    path, contents = folder / f"{_name_of(module, facts)}.xml", []
    for seed in (0, 1):  # what is no weight must not depend on them
        names = _draw_weights(module, seed)
        with tempfile.TemporaryDirectory() as temporary:
            made = Path(temporary) / "network.xml"
            openvino.save_model(convert(module, example), made, compress_to_fp16=False)
            contents.append(_contents(made, names))
            shutil.copyfile(made, path)
    if contents[0] != contents[1]:
        path.unlink()
        raise ValueError("a constant of the network was computed from the module's weights")
    path.with_suffix(".json").write_text(json.dumps(contents[0]) + "\n", encoding="utf-8")
    return path


@torch.no_grad()
def _draw_weights(module: torch.nn.Module, seed: int) -> dict[bytes, str]:
    """Gives all weights random values; digest of a weight's bytes → its name."""
    generator = torch.Generator().manual_seed(seed)
    names = {}
    for name, tensor in module.state_dict().items():
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
        names[_digest(tensor.detach().float().contiguous().numpy())] = name
    return names


def _contents(topology: Path, names: Mapping[bytes, str]) -> dict[str, Any]:
    """What the file of constants holds: at which offset which weight, or which literal."""
    weights, literals = [], []
    with topology.with_suffix(".bin").open("rb") as file:
        for offset, size in _places(topology):
            file.seek(offset)
            content = file.read(size)
            if (name := names.get(_digest(content))) is not None:
                weights.append((offset, name))
            else:
                literals.append((offset, base64.b64encode(content).decode()))
        return {"bytes": file.seek(0, 2), "weights": weights, "literals": literals}


def library_versions() -> list[str]:
    """The versions of the libraries by which networks are made."""
    return [version(library).partition("+")[0] for library in _MADE_BY]


def without_origin(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What of a module's facts decides what it computes: not where its files lie."""
    return {name: value for name, value in facts.items() if not name.startswith("_")}


def _name_of(module: torch.nn.Module, facts: Mapping[str, Any]) -> str:
    """Of a topology: its kind, and a hash of facts, shapes and versions."""
    shapes = sorted((name, list(each.shape)) for name, each in module.state_dict().items())
    known = json.dumps(
        [without_origin(facts), shapes, library_versions()], sort_keys=True, default=str
    )
    digest = hashlib.sha256(known.encode()).hexdigest()
    return f"{facts.get('kind', 'network').replace(' ', '-')}-{digest[:12]}"


def _places(topology: Path) -> list[tuple[int, int]]:
    """Offset and size of each constant in the file of constants, in their order."""
    layers = ElementTree.parse(topology).iter("layer")
    data = [layer.find("data") for layer in layers if layer.get("type") == "Const"]
    return sorted({(int(each.get("offset")), int(each.get("size"))) for each in data})


def _digest(content: Any) -> bytes:
    return hashlib.sha256(content).digest()
