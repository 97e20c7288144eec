"""ComfyUI's graph of nodes, read back into the settings of one picture.

The graph is the one in ComfyUI's API form: ``{"3": {"class_type": "KSampler", "inputs": {"steps":
20, "model": ["4", 0], …}}, …}``; a list of a node's name and a number is a link. There are
thousands of kinds of nodes, so what counts are the names of their inputs, as most authors keep to
those of ComfyUI's own (``nodes.py`` and ``comfy_extras/nodes_custom_sampler.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

MAX_NODES = 5000
MAX_SAMPLERS = 20  # that are looked at
MAX_STEPS = 2000  # links that one search follows

_TEXTS = ("text", "prompt", "string", "clip_l", "t5xxl")  # parts of the names of words
_CHOSEN = "populated_text"  # where wildcards have been replaced
_SIDES = ("positive", "negative")
_LITERALS = ("value", "seed", "noise_seed", "int", "float", "number", "Number", "string", "text")
_MODELS = ("ckpt_name", "unet_name", "model_name", "gguf_name", "base_ckpt_name")
# What does not lead from a sampler to its words.
_NO_WORDS = {"model", "clip", "vae", "latent_image", "latent", "samples", "image", "images",
             "pixels", "mask", "control_net", "sampler", "sigmas", "noise", "clip_vision",
             "clip_vision_output", "style_model", "upscale_model"}  # fmt: skip
# Nodes that every graph has, or whose part is told elsewhere.
_ORDINARY = {"CheckpointLoaderSimple", "UNETLoader", "VAELoader", "CLIPLoader", "DualCLIPLoader",
             "TripleCLIPLoader", "CLIPTextEncode", "CLIPTextEncodeSDXL", "CLIPTextEncodeFlux",
             "CLIPSetLastLayer", "EmptyLatentImage", "EmptySD3LatentImage", "VAEDecode",
             "SaveImage", "PreviewImage", "KSampler", "KSamplerAdvanced", "KSamplerSelect",
             "SamplerCustom", "SamplerCustomAdvanced", "BasicScheduler", "BasicGuider",
             "CFGGuider", "RandomNoise", "FluxGuidance", "LoraLoader", "LoraLoaderModelOnly",
             "PrimitiveNode", "Reroute", "Note", "ConditioningZeroOut"}  # fmt: skip

Graph = Mapping[str, Mapping[str, Any]]


def is_graph(document: Mapping[str, Any]) -> bool:
    """Whether JSON is a graph in ComfyUI's API form."""
    nodes = list(document.values())
    return bool(nodes) and any(isinstance(node, dict) and "class_type" in node for node in nodes)


def read_graph(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings of the first sampler whose latents come from no other one.

    Returns:
        A1111's names, values as they stand in the graph, and ``loras``: pairs of name and weight;
        or None if there is no sampler. ``Other nodes`` names kinds of nodes that are not told of.
    """
    graph: dict[str, dict[str, Any]] = {}
    for name, node in list(document.items())[:MAX_NODES]:
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict):
            graph[str(name)] = node["inputs"]
    samplers = [name for name in graph if _is_sampler(graph[name])][:MAX_SAMPLERS]
    if not samplers:
        return None
    sampler = next((name for name in samplers if not _follows_one(graph, name, samplers)),
                   samplers[0])  # fmt: skip
    facts = _facts_of(graph, sampler)
    if len(samplers) > 1:
        facts["Further samplers"] = len(samplers) - 1
    kinds = {str(node.get("class_type")) for node in document.values() if isinstance(node, dict)}
    if others := sorted(kinds - _ORDINARY - {"None"}):
        facts["Other nodes"] = ", ".join(kind[:60] for kind in others[:30])
    return facts


def _is_sampler(inputs: Mapping[str, Any]) -> bool:
    """KSampler and its like have steps and words; those of parts have a guider, or all of them."""
    by_itself = "steps" in inputs and ("positive" in inputs or "sampler_name" in inputs)
    of_parts = {"sampler", "sigmas"} <= inputs.keys()
    return (by_itself and "latent_image" in inputs) or of_parts


def _facts_of(graph: Graph, sampler: str) -> dict[str, Any]:
    own = dict(graph[sampler])
    for part in ("guider", "sampler", "sigmas", "noise"):  # of nodes that are put together
        value = own.get(part)
        for _ in range(10):
            if (node := _target(value, graph)) is None:
                break
            own = {**graph[node], **own}
            value = graph[node].get(part)
    latents = [graph[name] for name in _reachable(graph, own.get("latent_image"))]
    size = next((each for each in latents if {"width", "height"} <= each.keys()), {})
    positive = own.get("positive", own.get("conditioning"))
    models = _reachable(graph, own.get("model"))
    facts = {
        "prompt": ", ".join(_texts(graph, positive, "positive")),
        "negative_prompt": ", ".join(_texts(graph, own.get("negative"), "negative")),
        "Steps": _literal(graph, own.get("steps")),
        "Sampler": _literal(graph, own.get("sampler_name")),
        "Schedule type": _literal(graph, own.get("scheduler")),
        "CFG scale": _literal(graph, own.get("cfg")),
        "Seed": _literal(graph, own.get("seed", own.get("noise_seed"))),
        "Model": _first(graph, models, _MODELS),
        "VAE": _first(graph, graph, ("vae_name",)),
        "Clip skip": _clip_skip(graph),
        "Distilled CFG Scale": _first(graph, _reachable(graph, positive), ("guidance",)),
        "Denoising strength": _literal(graph, own.get("denoise")),
    }
    if facts["Denoising strength"] in (1, 1.0, "1"):
        del facts["Denoising strength"]
    width, height = _literal(graph, size.get("width")), _literal(graph, size.get("height"))
    if width and height:
        facts["Size"] = f"{width}x{height}"
    loras = [
        (name, _literal(graph, graph[node].get("strength_model", 1)))
        for node in models
        if isinstance(name := graph[node].get("lora_name"), str)
    ]
    found = {name: value for name, value in facts.items() if value is not None}
    return {**found, "loras": loras[:20][::-1]}


def _target(value: Any, graph: Graph) -> str | None:
    """The node that an input is linked to."""
    if isinstance(value, list) and len(value) == 2 and str(value[0]) in graph:
        return str(value[0])
    return None


def _literal(graph: Graph, value: Any) -> Any:
    """An input's own value, or that of the node which it is linked to."""
    for _ in range(10):
        target = _target(value, graph)
        if target is None:
            return None if isinstance(value, list | dict) else value
        inputs = graph[target]
        value = next((inputs[name] for name in _LITERALS if name in inputs), None)
        if value is None:
            plain = [each for each in inputs.values() if isinstance(each, int | float | str)]
            value = plain[0] if len(plain) == 1 else None
    return None


def _reachable(graph: Graph, start: Any) -> list[str]:
    """The nodes that an input comes from, the nearest first, all their inputs followed."""
    first = _target(start, graph)
    if first is None:
        return []
    found, waiting = {first: None}, deque([first])
    while waiting and len(found) < MAX_STEPS:
        for value in graph[waiting.popleft()].values():
            target = _target(value, graph)
            if target is not None and target not in found:
                found[target] = None
                waiting.append(target)
    return list(found)


def _follows_one(graph: Graph, sampler: str, samplers: list[str]) -> bool:
    reached = set(_reachable(graph, graph[sampler].get("latent_image"))) - {sampler}
    return bool(reached & set(samplers))


def _texts(graph: Graph, start: Any, side: str) -> list[str]:
    """The words that lead into a sampler on one side, each once, in the order of their links."""
    texts: dict[str, None] = {}
    seen: set[str] = set()
    waiting = [_target(start, graph)]
    while waiting and len(seen) < MAX_STEPS:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        inputs = graph[node]
        words = [value for name, value in inputs.items() if _is_words(name, value, side)]
        if isinstance(inputs.get(_CHOSEN), str):
            words = [inputs[_CHOSEN]]
        if words:
            texts.update(dict.fromkeys(word.strip() for word in words if word.strip()))
            continue
        links = {name: _target(value, graph) for name, value in inputs.items()}
        if links.get(side):  # a node between that takes both sides, such as a ControlNet's
            waiting.append(links[side])
        else:
            further = [link for name, link in links.items() if name not in _NO_WORDS]
            waiting += further[::-1]
    return list(texts)


def _is_words(name: str, value: Any, side: str) -> bool:
    """Whether an input holds words for one side, be it of a node of somebody else's."""
    name = name.lower()
    if not isinstance(value, str) or any(other in name for other in _SIDES if other != side):
        return False
    return name in ("value", side) or any(part in name for part in _TEXTS)


def _first(graph: Graph, nodes: Iterable[str], names: tuple[str, ...]) -> Any:
    """The first value under one of ``names`` in these nodes."""
    for node in nodes:
        for name in names:
            if (value := _literal(graph, graph[node].get(name))) is not None:
                return value
    return None


def _clip_skip(graph: Graph) -> int | None:
    """The layer of the text encoder, where all of the graph's nodes agree on one."""
    layers = {inputs.get("stop_at_clip_layer") for inputs in graph.values()} - {None}
    layer = next(iter(layers)) if len(layers) == 1 else None
    return -layer if isinstance(layer, int) and layer < 0 else None
