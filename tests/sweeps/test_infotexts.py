"""Settings as other programs write them, made at random by grammars of their forms."""

from __future__ import annotations

import html
import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from pipelines.core.errors import UserError
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.samplers import Samplers
from studio.core.gallery.infotext_units import units_of, unused_lines, unused_values
from studio.core.gallery.metadata import parse_parameters, read_settings
from studio.core.gallery.reuse import fields_of, unused_settings
from tests.sweeps.plain_sentences import check_sentence

pytestmark = pytest.mark.deep

CASES = 150
Facts = dict[str, Any]
Texts = dict[str, str]

WORDS = ["a red mug", "(soft light:1.2)", "[fog|mist]", "café", "红色的杯子", "🦊", "BREAK",
         "1girl", "photo, 35mm", 'a "quoted" word', "<lora:clay:0.8>", "{a|b}", "__colour__", "50%",
         "back\\slash", "new\nline", "emb:1"]  # fmt: skip
SAMPLERS = {"Euler": "euler", "Euler a": "euler_ancestral", "DPM++ 2M": "dpmpp_2m",
            "DPM++ 2M SDE": "dpmpp_2m_sde", "DDIM": "ddim", "UniPC": "uni_pc"}  # fmt: skip
INVOKE_SAMPLERS = SAMPLERS | {"Euler a": "euler_a", "UniPC": "unipc"}
SCHEDULES = {"Karras": "karras", "Exponential": "exponential"}


def settings(draw: random.Random) -> Facts:
    """What somebody painted with."""

    def words() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randrange(1, 6))).strip()

    return {
        "prompt": words(),
        "negative": words() if draw.random() < 0.7 else "",
        "steps": draw.randrange(1, 100),
        "sampler": draw.choice(list(SAMPLERS)),
        "schedule": draw.choice(list(SCHEDULES)),
        "cfg": draw.choice((1.0, 3.5, 7.0, 12.0)),
        "seed": draw.randrange(2**32),
        "width": 8 * draw.randrange(8, 200),
        "height": 8 * draw.randrange(8, 200),
        "model": draw.choice(("v1-5-pruned", "sd_xl_base_1.0", "dreamer 8", "模型")),
    }


# --- the writers: settings to the texts of a file -------------------------------------------------


def quote(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(",:\n") else text


def infotext(facts: Facts, *further: tuple[str, Any], combined: bool = False) -> str:
    lines = [facts["prompt"]]
    if facts["negative"]:
        lines.append(f"Negative prompt: {facts['negative']}")
    sampler = [("Sampler", facts["sampler"]), ("Schedule type", facts["schedule"])]
    if combined:  # before A1111's version 1.9
        sampler = [("Sampler", f"{facts['sampler']} {facts['schedule']}")]
    pairs = [("Steps", facts["steps"]), *sampler, ("CFG scale", f"{facts['cfg']:g}"),
             ("Seed", facts["seed"]), ("Size", f"{facts['width']}x{facts['height']}"),
             ("Model hash", "6ce0161689"), ("Model", facts["model"]), *further]  # fmt: skip
    return "\n".join([*lines, ", ".join(f"{name}: {quote(value)}" for name, value in pairs)])


def a1111(facts: Facts, draw: random.Random) -> Texts:
    further = [("Lora hashes", "clay: 0a1b, soft: 2c3d"), ("TI hashes", "bad: 1f"),
               ("Denoising strength", 0.7), ("Hires upscale", 2), ("Clip skip", 2),
               ("VAE", "vae-ft-mse.ckpt"), ("ENSD", 31337)]  # fmt: skip
    further = draw.sample(further, draw.randrange(len(further)))
    old = draw.random() < 0.5
    version = "v1.6.0" if old else "v1.10.1"
    return {"parameters": infotext(facts, *further, ("Version", version), combined=old)}


def forge(facts: Facts, draw: random.Random) -> Texts:
    further = [("Distilled CFG Scale", 3.5), ("Module 1", "ae"), ("Beta schedule alpha", 0.6),
               ("Hashes", '{"model": "ab", "vae": "cd"}')]  # fmt: skip
    return {"parameters": infotext(facts, *further, ("Version", "f2.0.1v1.10.1-previous-622"))}


def adetailer(facts: Facts, draw: random.Random) -> Texts:
    further = [("ADetailer model", "face_yolov8n.pt"), ("ADetailer prompt", "eyes, blue: light"),
               ("ADetailer confidence", 0.3), ("ADetailer dilate erode", 4),
               ("ADetailer model 2nd", "hand_yolov8n.pt"),
               ("ADetailer version", "24.11.1")]  # fmt: skip
    return {"parameters": infotext(facts, *further, ("Version", "v1.10.1"))}


LATER_WORDS = ", {red|blue: deep}, a: b, c: d, e: f"
NEGATIVE = "(bad:1.4), (worse: 1.2), fog: 1, a: b"


def dynamic_prompts(facts: Facts, draw: random.Random) -> Texts:
    text = infotext(facts, ("Version", "v1.10.1"))
    text += f"\nTemplate: {facts['prompt']}{LATER_WORDS}"
    if draw.random() < 0.5:
        text += f"\nNegative Template: {NEGATIVE}"
    return {"parameters": text}


def civitai(facts: Facts, draw: random.Random) -> Texts:
    resources = json.dumps([{"type": "lora", "weight": 0.8, "modelVersionId": 9}])
    text = infotext(facts, ("Clip skip", 2))
    return {"parameters": f"{text}, Civitai resources: {resources}, Civitai metadata: {{}}"}


def swarm(facts: Facts, draw: random.Random) -> Texts:
    params = {"prompt": facts["prompt"], "negativeprompt": facts["negative"],
              "model": f"folder/{facts['model']}.safetensors", "images": 1,
              "steps": facts["steps"], "cfgscale": facts["cfg"], "aspectratio": "Custom",
              "width": facts["width"], "height": facts["height"], "seed": facts["seed"],
              "sampler": SAMPLERS[facts["sampler"]], "scheduler": SCHEDULES[facts["schedule"]],
              "automaticvae": True, "swarm_version": "0.9.5.1"}  # fmt: skip
    extra = {"sui_extra_data": {"date": "2026-01-05"}, "sui_models": [{"name": "a"}]}
    whole = {"sui_image_params": params, **(extra if draw.random() < 0.7 else {})}
    return {"parameters": json.dumps(whole, indent=draw.choice((None, 2)), ensure_ascii=False)}


def invoke(facts: Facts, draw: random.Random) -> Texts:
    karras = "_k" if facts["schedule"] == "Karras" else ""
    name = draw.choice(("name", "model_name"))
    whole = {"app_version": "5.4.2", "generation_mode": "txt2img",
             "positive_prompt": facts["prompt"], "negative_prompt": facts["negative"],
             "width": facts["width"], "height": facts["height"], "seed": facts["seed"],
             "rand_device": "cpu", "cfg_scale": facts["cfg"], "steps": facts["steps"],
             "scheduler": INVOKE_SAMPLERS[facts["sampler"]] + karras,
             "clip_skip": 0, "model": {name: facts["model"], "base": "sdxl"},
             "controlnets": [], "loras": [], "vae": None}  # fmt: skip
    return {"invokeai_metadata": json.dumps(whole), "invokeai_graph": '{"nodes": {}}'}


def fooocus(facts: Facts, draw: random.Random) -> Texts:
    whole = {"adm_guidance": "(1.5, 0.8, 0.3)", "base_model": facts["model"],
             "base_model_hash": "aeb7e9e689", "guidance_scale": facts["cfg"],
             "metadata_scheme": "fooocus", "negative_prompt": facts["negative"],
             "performance": "Speed", "prompt": facts["prompt"], "refiner_model": "None",
             "resolution": f"({facts['width']}, {facts['height']})",
             "sampler": SAMPLERS[facts["sampler"]], "scheduler": SCHEDULES[facts["schedule"]],
             "seed": str(facts["seed"]), "sharpness": 2, "steps": facts["steps"],
             "styles": "['Fooocus V2']", "loras": [], "version": "Fooocus v2.5.5"}  # fmt: skip
    return {"parameters": json.dumps(whole), "fooocus_scheme": "fooocus"}


def novelai(facts: Facts, draw: random.Random) -> Texts:
    comment = {"steps": facts["steps"], "sampler": "k_" + SAMPLERS[facts["sampler"]],
               "seed": facts["seed"], "scale": facts["cfg"], "uc": facts["negative"],
               "height": facts["height"], "width": facts["width"], "n_samples": 1,
               "noise_schedule": SCHEDULES[facts["schedule"]],
               "v4_prompt": {"caption": {"base_caption": "x"}}}  # fmt: skip
    return {"Title": "AI generated image", "Description": facts["prompt"], "Software": "NovelAI",
            "Source": facts["model"], "Comment": json.dumps(comment)}  # fmt: skip


def draw_things(facts: Facts, draw: random.Random) -> Texts:
    whole = {"c": facts["prompt"], "uc": facts["negative"], "model": facts["model"] + ".ckpt",
             "sampler": facts["sampler"] + " " + facts["schedule"], "scale": facts["cfg"],
             "seed": facts["seed"], "size": f"{facts['width']}x{facts['height']}",
             "steps": facts["steps"], "lora": [], "v2": {"seed": 1}}  # fmt: skip
    inside = html.escape(json.dumps(whole, ensure_ascii=False))
    return {"XML:com.adobe.xmp": (
        "<x:xmpmeta><exif:UserComment><rdf:Alt><rdf:li xml:lang='x-default'>"
        f"{inside}</rdf:li></rdf:Alt></exif:UserComment></x:xmpmeta>")}  # fmt: skip


def comfy(facts: Facts, draw: random.Random) -> Texts:
    """A graph with numbers for names, strings of their own, nodes between and two passes."""
    names = [str(number) for number in draw.sample(range(1000), 20)]
    model, clip, positive, negative, latent, sampler, decode, save, text, second = names[:10]
    words: Any = facts["prompt"]
    graph: dict[str, Any] = {}
    if draw.random() < 0.5:
        graph[text] = {"class_type": "Text Multiline", "inputs": {"text": words}}
        words = [text, 0]
    conditioning: Any = [positive, 0]
    if draw.random() < 0.5:
        graph[names[10]] = {"class_type": "ControlNetApply", "inputs": {
            "conditioning": conditioning, "control_net": [names[11], 0], "strength": 1,
            "image": [names[12], 0]}}  # fmt: skip
        graph[names[11]] = {"class_type": "ControlNetLoader", "inputs": {"control_net_name": "x"}}
        graph[names[12]] = {"class_type": "LoadImage", "inputs": {"image": "a.png"}}
        conditioning = [names[10], 0]
    common = {"cfg": facts["cfg"], "sampler_name": SAMPLERS[facts["sampler"]],
              "scheduler": SCHEDULES[facts["schedule"]], "model": [model, 0],
              "positive": conditioning, "negative": [negative, 0]}  # fmt: skip
    graph |= {
        model: {"class_type": "CheckpointLoaderSimple",
                "inputs": {"ckpt_name": facts["model"] + ".safetensors"}},
        positive: {"class_type": "CLIPTextEncode", "inputs": {"text": words, "clip": [model, 1]}},
        negative: {"class_type": "CLIPTextEncode",
                   "inputs": {"text": facts["negative"], "clip": [model, 1]}},
        latent: {"class_type": "EmptyLatentImage",
                 "inputs": {"width": facts["width"], "height": facts["height"]}},
        sampler: {"class_type": "KSampler", "inputs": {
            **common, "seed": facts["seed"], "steps": facts["steps"], "denoise": 1.0,
            "latent_image": [latent, 0]}},
        decode: {"class_type": "VAEDecode", "inputs": {"samples": [sampler, 0]}},
        save: {"class_type": "SaveImage", "inputs": {"images": [decode, 0]}},
    }  # fmt: skip
    if draw.random() < 0.4:
        graph[second] = {"class_type": "KSampler", "inputs": {
            **common, "seed": 1, "steps": 3, "denoise": 0.4,
            "latent_image": [clip, 0]}}  # fmt: skip
        graph[clip] = {"class_type": "LatentUpscale", "inputs": {"samples": [sampler, 0]}}
    shuffled = dict(draw.sample(list(graph.items()), len(graph)))
    workflow = {"workflow": '{"nodes": [], "links": []}'} if draw.random() < 0.5 else {}
    return {"prompt": json.dumps(shuffled), **workflow}


WRITERS: list[Callable[[Facts, random.Random], Texts]] = [
    a1111, forge, adetailer, dynamic_prompts, civitai, swarm, invoke, fooocus, novelai,
    draw_things, comfy,
]  # fmt: skip


# --- the files ------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(texts: Texts, draw: random.Random) -> bytes:
    """A PNG with each text in a chunk of any kind, before the pixels or behind them."""
    chunks = []
    for name, text in texts.items():
        key, body = name.encode(), text.encode()
        chunks.append(
            draw.choice(
                (
                    chunk(b"tEXt", key + b"\0" + body),  # UTF-8, against the specification
                    chunk(b"zTXt", key + b"\0\0" + zlib.compress(body)),
                    chunk(b"iTXt", key + b"\0\0\0\0\0" + body),
                    chunk(b"iTXt", key + b"\0\1\0en\0\0" + zlib.compress(body)),
                )
            )
        )
    plain = save_with("PNG")
    at = draw.choice((plain.index(b"IDAT") - 4, len(plain) - 12))
    return plain[:at] + b"".join(chunks) + plain[at:]


def save_with(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, form, **options)
    return buffer.getvalue()


def in_exif(form: str, texts: Texts, draw: random.Random) -> bytes:
    """A JPEG or WEBP: one text in its user's comment; ComfyUI's in the fields that come first."""
    block = Image.Exif()
    if "workflow" in texts or "prompt" in texts:
        for tag, (name, text) in zip((Base.Model, Base.Make), texts.items(), strict=False):
            block[tag] = f"{name}:{text}"
    else:
        text = texts["parameters"]
        comment = draw.choice(
            (
                b"UNICODE\0" + text.encode("utf-16-be"),
                b"UNICODE\0" + text.encode("utf-16-le"),
                b"UNICODE\0" + text.encode("utf-8"),
                b"ASCII\0\0\0" + text.encode("utf-8"),
                text.encode("utf-8"),
            )
        )
        place = block if draw.random() < 0.5 else block.get_ifd(IFD.Exif)
        place[Base.UserComment] = comment
    return save_with(form, exif=block)


def file_of(texts: Texts, draw: random.Random) -> bytes:
    form = draw.choice(("PNG", "JPEG", "WEBP"))
    if form == "PNG" or not {"parameters", "prompt"} & texts.keys():
        return png(texts, draw)
    return in_exif(form, texts, draw)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_what_was_written_is_read(writer):
    draw = random.Random(writer.__name__)
    for _ in range(CASES):
        facts = settings(draw)
        texts = writer(facts, draw)
        data = file_of(texts, draw)
        read = read_settings(data)
        got = fields_of(read)
        prompt, negative = facts["prompt"], facts["negative"]
        # What the words were chosen by is asked for again, unless it names lists of elsewhere;
        # of the two prompts each by itself.
        if writer is dynamic_prompts:
            prompt += "" if "__" in prompt else LATER_WORDS
            negative = NEGATIVE if "Negative Template" in texts["parameters"] else negative
        assert got["prompt"] == prompt, read
        assert got["negative_prompt"] == negative
        assert got["steps"] == facts["steps"]
        assert got["seed"] == facts["seed"]
        assert got["guidance"] == facts["cfg"]
        assert got["sampler"] == facts["sampler"]
        if writer is not invoke or facts["schedule"] == "Karras":
            assert got["schedule"] == facts["schedule"]
        assert got["model"] == facts["model"]
        assert (got["width"], got["height"]) == (facts["width"], facts["height"])


ABOUT_THE_FILE = {"Version", "Software", "Lora hashes", "TI hashes", "Model hash", "Hashes",
                  "Base model hash", "ADetailer version"}  # fmt: skip
USED = {"prompt", "negative_prompt", "Steps", "Sampler", "Schedule type", "CFG scale", "Seed",
        "Size", "Model", "Clip skip", "CFG rescale"}  # fmt: skip


# Of the passes over a finished picture, and the words that the prompt was chosen by.
USED_AT_TIMES = {"Denoising strength", "Hires upscale", "Hires steps", "Hires upscaler", "Template",
                 "Negative Template", "ADetailer model", "ADetailer prompt", "ADetailer confidence",
                 "ADetailer dilate erode"}  # fmt: skip


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_whatever_is_not_used_is_said(writer, tmp_path):
    draw, control, samplers = random.Random(5), ControlCatalog(tmp_path), Samplers()
    for _ in range(CASES // 5):
        facts = settings(draw)
        read = read_settings(png(writer(facts, draw), draw))
        said = unused_settings(read, {facts["model"]}, samplers, control)
        assert read.keys() - said <= USED | USED_AT_TIMES | ABOUT_THE_FILE
        assert not said & (USED - {"Clip skip", "Size"}), said


def control_line(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """A ControlNet line of some version of the extension, and what it says."""
    start, end = sorted(draw.sample(range(101), 2))
    start, end = start / 100, end / 100
    unit = {"weight": round(draw.random() * 2, 2), "start": start, "end": end,
            "resize_mode": draw.choice(("stretch", "crop", "pad")),
            "control_mode": draw.choice(("balanced", "prompt", "control")),
            "preprocessor": "canny", "model": "sd15-controlnet-canny"}  # fmt: skip
    words = {"stretch": ("Just Resize", "ResizeMode.RESIZE"),
             "crop": ("Crop and Resize", "ResizeMode.INNER_FIT"),
             "pad": ("Resize and Fill", "ResizeMode.OUTER_FIT"),
             "balanced": ("Balanced", "ControlMode.BALANCED"),
             "prompt": ("My prompt is more important", "ControlMode.PROMPT"),
             "control": ("ControlNet is more important", "ControlMode.CONTROL")}  # fmt: skip
    resize, mode = draw.choice(words[unit["resize_mode"]]), draw.choice(words[unit["control_mode"]])
    name = draw.choice(("control_v11p_sd15_canny", "control_v11p_sd15_canny_fp16"))
    name += draw.choice(("", " [d14c016b]"))
    if draw.random() < 0.5:
        return (
            f"Module: canny, Model: {name}, Weight: {unit['weight']}, Resize Mode: {resize}, "
            f"Processor Res: 512, Threshold A: 100, Threshold B: 200, Guidance Start: {start}, "
            f"Guidance End: {end}, Pixel Perfect: True, Control Mode: {mode}, Hr Option: Both"
        ), unit
    return (
        f"preprocessor: canny, model: {name}, weight: {unit['weight']}, starting/ending: "
        f"({start}, {end}), resize mode: {resize}, pixel perfect: True, control mode: {mode}, "
        f"preprocessor params: (512, 100, 200)"
    ), unit


def test_control_lines_of_all_versions_are_read(tmp_path):
    draw, control = random.Random(9), ControlCatalog(tmp_path)
    for _ in range(3 * CASES):
        lines = [control_line(draw) for _ in range(draw.randrange(1, 4))]
        name = draw.choice(("ControlNet {}", "Controlnet {}"))
        further = [(name.format(number), line) for number, (line, _) in enumerate(lines)]
        if len(lines) == 1 and draw.random() < 0.3:
            further = [("ControlNet", lines[0][0])]
        read = parse_parameters(infotext(settings(draw), *further, ("Version", "v1.10.1")))
        units = units_of(read, control)
        for unit in units:
            del unit["parameters"]
        assert units == [unit for _, unit in lines]
        assert unused_lines(read, control) == set()
        assert unused_values(read, control) == {}


def change_text(text: str, draw: random.Random) -> str:
    """A text with some of it repeated, taken out, or replaced by what stands elsewhere in texts."""
    for _ in range(draw.randrange(1, 4)):
        start = draw.randrange(len(text) + 1)
        end = min(len(text), start + draw.randrange(30))
        piece = draw.choice(
            ("", text[start:end] * draw.randrange(3), "\n", '"', "\\", "{", "}]", ": [", "null",
             "NaN", "1e999", "-1", "Steps: ", "\0", "\ud7ff", "[" * 3000, "ControlNet 0: ",
             "9" * 5000)
        )  # fmt: skip
        text = text[:start] + piece + text[end:]
    return text


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_damaged_settings_are_read_or_refused_by_a_sentence(writer, tmp_path):
    draw, control, samplers = random.Random(writer.__name__), ControlCatalog(tmp_path), Samplers()
    for _ in range(2 * CASES):
        texts = writer(settings(draw), draw)
        name = draw.choice(list(texts))
        texts[name] = change_text(texts[name], draw)
        try:
            read = read_settings(png(texts, draw))
        except UserError as error:
            check_sentence(error)
            continue
        assert all(isinstance(value, str) for value in read.values())
        fields_of(read)
        unused_settings(read, {"starter"}, samplers, control)
        units_of(read, control)
