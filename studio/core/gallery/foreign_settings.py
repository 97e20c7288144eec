"""Settings that other programs write into pictures, under the names that A1111 gives them.

SwarmUI, InvokeAI, Fooocus, NovelAI, Draw Things, Easy Diffusion and mflux write flat JSON or texts
of their own; ComfyUI writes a graph, which :mod:`studio.core.gallery.comfyui_graph` reads. What has
no name at A1111's keeps its own, so that it is seen and said to be left out.

Sources of the forms: SwarmUI's ``docs/Image Metadata Format.md``; InvokeAI's ``CoreMetadata``
(``invokeai/app/invocations/metadata.py``) and ``ldm/invoke/pngwriter.py``; Fooocus'
``modules/meta_parser.py``; pictures of NovelAI, Draw Things and Easy Diffusion.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from pipelines.core.errors import BadRequest
from pipelines.core.pictures.picture_files import XMP_TEXT
from studio.core.gallery.comfyui_graph import is_graph, read_graph

MAX_CHARACTERS = 2_000_000  # of one text; the largest workflows have a quarter of it
MAX_FACTS = 200
MAX_LORAS = 20
OTHERS = "Other settings"  # the names of those whose values are lists or tables

# Names in lower case without blanks and signs → A1111's.
_NAMES = {
    "prompt": "prompt",
    "positiveprompt": "prompt",
    "c": "prompt",
    "negativeprompt": "negative_prompt",
    "negative": "negative_prompt",
    "uc": "negative_prompt",
    "steps": "Steps",
    "numinferencesteps": "Steps",
    "sampler": "Sampler",
    "samplername": "Sampler",
    "schedulername": "Schedule type",
    "noiseschedule": "Schedule type",
    "scheduletype": "Schedule type",
    "cfgscale": "CFG scale",
    "guidancescale": "CFG scale",
    "guidance": "CFG scale",
    "scale": "CFG scale",
    "cfg": "CFG scale",
    "cfgrescalemultiplier": "CFG rescale",
    "cfgrescale": "CFG rescale",
    "guidancerescale": "CFG rescale",
    "seed": "Seed",
    "size": "Size",
    "resolution": "Size",
    "model": "Model",
    "modelname": "Model",
    "modelweights": "Model",
    "basemodel": "Model",
    "basemodelname": "Model",
    "usestablediffusionmodel": "Model",
    "stablediffusionmodel": "Model",
    "modelhash": "Model hash",
    "basemodelhash": "Model hash",
    "clipskip": "Clip skip",
    "vae": "VAE",
    "vaename": "VAE",
    "usevaemodel": "VAE",
    "denoisingstrength": "Denoising strength",
    "strength": "Denoising strength",
    "version": "Version",
}
_SAMPLERS = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "euler_a": "Euler a",
    "heun": "Heun",
    "lms": "LMS",
    "dpm_2": "DPM2",
    "kdpm_2": "DPM2",
    "dpm_2_ancestral": "DPM2 a",
    "kdpm_2_a": "DPM2 a",
    "dpmpp_2s": "DPM++ 2S",
    "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_3m": "DPM++ 3M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "pndm": "PNDM",
    "plms": "PLMS",
    "uni_pc": "UniPC",
    "unipc": "UniPC",
    "deis": "DEIS",
    "lcm": "LCM",
    "tcd": "TCD",
}
_SCHEDULES = {
    "normal": "Uniform",
    "uniform": "Uniform",
    "karras": "Karras",
    "exponential": "Exponential",
    "beta": "Beta",
    "sgm_uniform": "SGM Uniform",
}
_WEIGHTS = (".safetensors", ".ckpt", ".sft", ".gguf", ".pt", ".pth")


def read_texts(texts: Mapping[str, str]) -> dict[str, str] | None:
    """The settings in a picture file's texts, or None where no known program has written any.

    Args:
        texts: keyword → text, as they stand in the file; ``UserComment`` and other names of EXIF
            are keywords too.

    Returns:
        ``prompt``, ``negative_prompt`` and A1111's names, ``Software`` among them.

    Raises:
        BadRequest: there are settings of a known program, which cannot be read.
    """
    for name in ("parameters", "UserComment", "comment", "ImageDescription"):
        document = _document(texts, name)
        if document and (found := _read_document(document, texts)):
            return found
    for name in ("invokeai_metadata", "sd-metadata"):
        if document := _document(texts, name):
            image = document.get("image")
            flat = {**document, **image} if isinstance(image, dict) else document
            return _flat(flat, "InvokeAI")
    if "Dream" in texts:
        return _dream(texts["Dream"])
    if "prompt" in texts or "workflow" in texts:
        if graph := _document(texts, "prompt"):
            return _of_graph(graph)
        if _document(texts, "workflow"):
            raise _only_a_workflow()
        if "seed" in texts:  # Easy Diffusion: a text for each setting
            return _flat(dict(texts), "Easy Diffusion")
    if document := _document({"": texts.get("generation_data", "").strip("\0 \n")}, ""):
        return _flat(document, "Tensor.Art")
    if {_NAMES.get(_bare(name)) for name in texts} >= {"prompt", "Seed", "Steps"}:
        return _flat(dict(texts), "Easy Diffusion")
    if (document := _document(texts, "Comment")) and _is_flat(document):
        description = {"prompt": texts["Description"]} if "Description" in texts else {}
        model = {"model": texts["Source"]} if "Source" in texts else {}
        return _flat({**description, **model, **document}, texts.get("Software") or "NovelAI")
    if document := _in_xmp(texts.get(XMP_TEXT, "")):
        return _flat(document, "Draw Things")
    return None


def read_words(texts: Mapping[str, str]) -> dict[str, str]:
    """The settings of programs that write little more than the prompt.

    It is asked where :func:`read_texts` has found none, takes what that takes, and returns an empty
    mapping where nothing is known.
    """
    if (document := _document(texts, "parameters-json")) and _is_flat(document):
        return _flat(document, "Stability Matrix")
    for name in ("Description", "ImageDescription"):
        text = texts.get(name, "").strip("\0 \n")
        if text.startswith(_MOCHI):
            return _flat(_in_words(text), "Mochi Diffusion")
        if (at := text.find(_JOB)) >= 0:
            return _midjourney(text[:at], text[at + len(_JOB) :].strip())
    prompt = texts.get("prompt", "").strip()
    if prompt and not _looks_like_json(prompt):
        return _flat({"prompt": prompt}, texts.get("Software", ""))
    return {}


_MOCHI, _JOB = "Include in Image: ", "Job ID:"
_MOCHI_NAMES = {
    "Include in Image": "prompt",
    "Exclude from Image": "negative_prompt",
    "Image Size": "size",
    "Generator": "Version",
}


def _in_words(text: str) -> dict[str, str]:
    """Mochi Diffusion's settings: ``Include in Image: a mug; Steps: 20; Seed: 5``."""
    document: dict[str, str] = {}
    last = "prompt"
    for part in text.split("; ")[:MAX_FACTS]:
        name, colon, value = part.partition(": ")
        if colon or part.endswith(":"):
            last = _MOCHI_NAMES.get(name.rstrip(":"), name.rstrip(":"))
            document[last] = value.rstrip(";")
        else:  # a semicolon of the prompt's own
            document[last] = f"{document.get(last, '')}; {part}"
    return document


def _midjourney(words: str, job: str) -> dict[str, str]:
    """Midjourney's description: the prompt, its options and the job's name."""
    prompt, *options = words.split(" --")
    document: dict[str, Any] = {"prompt": prompt.strip()}
    for option in options[:MAX_FACTS]:
        name, _, value = option.strip().partition(" ")
        name = "negative_prompt" if name == "no" else name
        document[name] = value.strip() or "yes"
    return _flat({**document, "Job": job}, "Midjourney")


def is_json(text: str) -> bool:
    """Whether a text is a JSON object; a prompt such as ``{red|blue} mug`` is none."""
    if not _looks_like_json(text):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except RecursionError:
        return True
    except ValueError:
        return False


def _looks_like_json(text: str) -> bool:
    return text.lstrip()[:1] == "{" and text.rstrip()[-1:] == "}"


def plain_model_name(name: str) -> str:
    """A model's name as A1111 writes it: without folders and without the end of a weights' file."""
    name = PurePosixPath(name.replace("\\", "/")).name or name
    for ending in _WEIGHTS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _document(texts: Mapping[str, str], name: str) -> dict[str, Any] | None:
    """The JSON object in the text ``name``."""
    text = texts.get(name, "")
    if not _looks_like_json(text):
        return None
    check_length(text)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def check_length(text: str, limit: int = MAX_CHARACTERS) -> None:
    """Raises BadRequest where a text of settings takes too long to read."""
    if len(text) > limit:
        raise BadRequest(
            "The settings inside this picture have {count} characters; at most {limit} are read.",
            count=len(text),
            limit=limit,
        )


def _read_document(document: dict[str, Any], texts: Mapping[str, str]) -> dict[str, str] | None:
    """The settings in a JSON object whose writer shows by its names."""
    params = document.get("sui_image_params")
    if isinstance(params, dict):
        extra = document.get("sui_extra_data")
        return _flat({**(extra if isinstance(extra, dict) else {}), **params}, "SwarmUI")
    if is_graph(document):
        return _of_graph(document)
    if isinstance(document.get("prompt"), dict) and is_graph(document["prompt"]):
        return _of_graph(document["prompt"])
    if "nodes" in document and "links" in document:
        raise _only_a_workflow()
    if "c" in document and "uc" in document:
        return _flat(document, "Draw Things")
    if _is_flat(document):
        software = str(document.get("Version") or document.get("version") or "")
        is_fooocus = "fooocus_scheme" in texts or "ooocus" in software
        return _flat(document, "Fooocus" if is_fooocus else texts.get("Software", ""))
    return None


def _is_flat(document: Mapping[str, Any]) -> bool:
    """Whether names of a prompt and of at least two further settings are in it."""
    names = {_NAMES.get(_bare(name)) for name in document} - {None}
    return bool(names & {"prompt", "negative_prompt"}) and len(names) >= 3


def _bare(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _flat(document: Mapping[str, Any], software: str) -> dict[str, str]:
    """Settings by their names: A1111's where there is one, the rest under their own."""
    facts: dict[str, str] = {"prompt": "", "negative_prompt": ""}
    others: list[str] = []
    is_swarm, is_invoke = software == "SwarmUI", software == "InvokeAI"
    has_sampler = any(_bare(name) in ("sampler", "samplername") for name in document)
    tags: list[tuple[str, Any]] = []
    for name, value in document.items():
        bare = _bare(str(name))
        known = _NAMES.get(bare)
        if bare == "scheduler":  # InvokeAI calls its samplers so
            known = "Schedule type" if has_sampler else "Sampler"
        if bare.startswith("loracombined") and isinstance(value, str):  # Fooocus: "name : weight"
            lora, _, weight = value.rpartition(" : ")
            tags = [*tags, (plain_model_name(lora or weight), weight if lora else 1)][:MAX_LORAS]
        elif bare in ("loras", "lora"):
            tags = (tags + _loras(value, document.get("loraweights")))[:MAX_LORAS]
        elif value is None or value in ("", [], {}) or bare in ("width", "height", "loraweights"):
            continue
        elif isinstance(value := _name_of(value, known), list | dict):
            others.append(str(name)[:60])
        elif is_invoke and known == "Clip skip" and str(value).isdigit():
            facts[known] = str(int(value) + 1)  # InvokeAI counts the layers that are skipped
        elif is_swarm and bare == "clipstopatlayer" and str(value).startswith("-"):
            facts["Clip skip"] = str(value)[1:]
        elif known and (known not in facts or not facts[known]):
            facts[known] = _value(known, value)
        elif len(facts) < MAX_FACTS:
            facts[_own_name(str(name), facts)] = _text(value)
        else:
            others.append(str(name)[:60])
    facts["prompt"] = _with_loras(facts["prompt"], tags)
    sides = {_bare(str(name)): value for name, value in document.items()}
    width, height = sides.get("width"), sides.get("height")
    if width and height:
        facts["Size"] = f"{_text(width)}x{_text(height)}"
    if others:
        facts[OTHERS] = ", ".join(others[:50])
    if software:
        facts["Software"] = software[:100]
    return _order(facts)


def _value(name: str, value: Any) -> str:
    text = _text(value)
    if name == "Sampler":
        return sampler_name(text)
    if name == "Schedule type":
        return schedule_name(text)
    if name == "Model":
        return plain_model_name(text)
    if name == "Size":  # "(1024, 1024)", "1024 × 1024"
        return text.strip("() ").replace(", ", "x").replace(" × ", "x")
    return text


def sampler_name(name: str) -> str:
    """A1111's name of a sampler of k-diffusion, ComfyUI, InvokeAI or NovelAI, else as it stands.

    InvokeAI's names hold the schedule: ``dpmpp_2m_k``.
    """
    bare = name.lower().removeprefix("k_").removesuffix("_gpu")
    if bare in _SAMPLERS:
        return _SAMPLERS[bare]
    if bare.endswith("_k") and (sampler := _SAMPLERS.get(bare[:-2])):
        return f"{sampler} Karras"
    return name


def schedule_name(name: str) -> str:
    """Our name of a schedule of ComfyUI's or k-diffusion's, else as it stands."""
    return _SCHEDULES.get(name.lower(), name)


def _name_of(value: Any, known: str | None) -> Any:
    """A model's name out of InvokeAI's fields of it; a prompt of InvokeAI's parts as one text."""
    if isinstance(value, dict) and known in ("Model", "VAE"):
        named = value.get("name") or value.get("model_name")
        return named if isinstance(named, str) else value
    if isinstance(value, list) and known in ("prompt", "negative_prompt"):
        parts = [each.get("prompt") if isinstance(each, dict) else each for each in value]
        return "\n".join(str(part) for part in parts)
    return value


def _loras(value: Any, weights: Any) -> list[tuple[str, Any]]:
    """Name and weight of each LoRA, in the forms of SwarmUI, InvokeAI, Fooocus, Draw Things."""
    found: list[tuple[str, Any]] = []
    # SwarmUI's parameters of several values may be one text with commas.
    value, weights = (each.split(",") if isinstance(each, str) else each
                      for each in (value, weights))  # fmt: skip
    weights = weights if isinstance(weights, list) else []
    for number, each in enumerate(value if isinstance(value, list) else []):
        each = each.strip() if isinstance(each, str) else each
        name, weight = each, weights[number] if number < len(weights) else 1
        if isinstance(each, dict):
            model = each.get("model") or each.get("lora") or each.get("name")
            name = _name_of(model, "Model")
            weight = each.get("weight", each.get("strength", 1))
        elif isinstance(each, list) and len(each) >= 2:
            name, weight = each[:2]
        if isinstance(name, str):
            found.append((plain_model_name(name), weight))
    return found[:MAX_LORAS]


def _with_loras(prompt: str, loras: list[tuple[str, Any]]) -> str:
    """The prompt with a tag for each LoRA that it does not name itself."""
    for name, weight in loras:
        clean = "".join(character for character in name if character not in "<>:")
        if clean and f"<lora:{clean}" not in prompt:
            prompt = f"{prompt} <lora:{clean}:{_text(weight)}>".strip()
    return prompt


def _own_name(name: str, facts: Mapping[str, str]) -> str:
    """A name of a setting that A1111 has none for, in its way of writing."""
    words = name.replace("_", " ").strip()[:60] or "Setting"
    shown = words[:1].upper() + words[1:]
    return shown if shown not in facts else f"{shown} 2"


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return value if isinstance(value, str) else str(value)


def _order(facts: Mapping[str, str]) -> dict[str, str]:
    """Facts with A1111's names first, in A1111's order, and what is empty left out."""
    first = ["prompt", "negative_prompt", *dict.fromkeys(_NAMES.values())]
    order = {name: number for number, name in enumerate(dict.fromkeys(first))}
    names = sorted(facts, key=lambda name: order.get(name, len(order)))
    return {name: facts[name] for name in names if facts[name] or name.endswith("prompt")}


def _of_graph(graph: dict[str, Any]) -> dict[str, str]:
    facts = read_graph(graph)
    if facts is None:
        raise BadRequest(
            "The settings inside this picture are a workflow of ComfyUI. None of its nodes is a "
            "sampler that is known here, so nothing of it can be read."
        )
    for name in ("Sampler", "Schedule type", "Model", "VAE"):
        if name in facts:
            facts[name] = _value("Model" if name == "VAE" else name, facts[name])
    loras = [(plain_model_name(name), weight) for name, weight in facts.pop("loras", [])]
    facts["prompt"] = _with_loras(facts.get("prompt", ""), loras)
    facts["Software"] = "ComfyUI"
    return _order({name: _text(value) for name, value in facts.items()})


def _only_a_workflow() -> BadRequest:
    return BadRequest(
        "The settings inside this picture are a workflow of ComfyUI without the values that it was "
        "run with, so nothing of it can be read. Open it in ComfyUI."
    )


def _dream(command: str) -> dict[str, str]:
    """InvokeAI's command line of 2022: ``"a mug [blurry]" -s 50 -S 123 -W 512 -H 512 -C 7.5``."""
    switches = {"s": "Steps", "S": "Seed", "C": "CFG scale", "A": "Sampler", "f": "strength"}
    before, _, after = command.strip().removeprefix('"').rpartition('"')
    prompt, negative = [], []
    for part in before.split("["):
        inside, closing, rest = part.partition("]")
        (negative if closing else prompt).append(inside)
        prompt.append(rest)
    document: dict[str, Any] = {
        "prompt": "".join(prompt).strip(" ,"),
        "uc": ", ".join(negative),
    }
    words = after.split()
    for switch, value in pairwise(words):
        if len(switch) == 2 and switch[0] == "-" and not value.startswith("-"):
            name = {"W": "width", "H": "height", **switches}.get(switch[1], f"Option {switch[1]}")
            document[name] = value
    return _flat(document, "InvokeAI")


def _in_xmp(xmp: str) -> dict[str, Any] | None:
    """Draw Things' settings: JSON in the ``exif:UserComment`` of XMP."""
    _, found, rest = xmp.partition("exif:UserComment")
    if not found:
        return None
    inside = rest.partition("</exif:UserComment")[0]
    start, end = inside.find("{"), inside.rfind("}")
    if not 0 <= start < end:
        return None
    document = _document({"xmp": html.unescape(inside[start : end + 1])}, "xmp")
    return document if document and _is_flat(document) else None
