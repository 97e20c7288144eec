"""Settings that other programs have written into pictures, in the forms that those have."""

from __future__ import annotations

import gzip
import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from pipelines.core.errors import BadRequest
from studio.core.gallery.foreign_settings import sampler_name
from studio.core.gallery.metadata import parse_parameters, read_settings
from studio.core.gallery.reuse import fields_of
from tests.patience import PROMPTLY


def png(**texts: str) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        keyword = {"xmp": "XML:com.adobe.xmp"}.get(name, name.replace("__", "-"))
        info.add_itxt(keyword, text)
    return save_with("PNG", pnginfo=info)


def save_with(form: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, form, **options)
    return buffer.getvalue()


def exif(form: str, *, inner: dict | None = None, outer: dict | None = None) -> bytes:
    block = Image.Exif()
    for tag, value in (outer or {}).items():
        block[tag] = value
    for tag, value in (inner or {}).items():
        block.get_ifd(IFD.Exif)[tag] = value
    return save_with(form, exif=block)


SWARM = {
    "sui_image_params": {
        "prompt": "a red mug, 杯子",
        "negativeprompt": "fog",
        "model": "SDXL/base_1.0.safetensors",
        "images": 1,
        "steps": 20,
        "cfgscale": 7.0,
        "aspectratio": "1:1",
        "width": 640,
        "height": 512,
        "seed": 305223794,
        "sampler": "dpmpp_2m",
        "scheduler": "karras",
        "loras": ["styles/clay", "soft"],
        "loraweights": ["0.8", "1"],
        "swarm_version": "0.9.5.1",
    },
    "sui_extra_data": {"date": "2026-01-05", "generation_time": "0.10 (prep) and 4.20 (gen)"},
    "sui_models": [{"name": "base_1.0.safetensors", "param": "model", "hash": "0xab"}],
}
SWARM_READ = {
    "prompt": "a red mug, 杯子 <lora:clay:0.8> <lora:soft:1>",
    "negative_prompt": "fog",
    "Steps": "20",
    "Sampler": "DPM++ 2M",
    "Schedule type": "Karras",
    "CFG scale": "7",
    "Seed": "305223794",
    "Size": "640x512",
    "Model": "base_1.0",
    "Software": "SwarmUI",
}


def comment_of(text: str) -> bytes:
    return b"UNICODE\0" + text.encode("utf-16-be")


@pytest.mark.parametrize(
    "data",
    [
        png(parameters=json.dumps(SWARM, indent=2, ensure_ascii=False)),
        exif("JPEG", inner={Base.UserComment: comment_of(json.dumps(SWARM))}),
        exif("JPEG", outer={Base.UserComment: comment_of(json.dumps(SWARM))}),
        exif("WEBP", inner={Base.UserComment: b"ASCII\0\0\0" + json.dumps(SWARM).encode()}),
    ],
    ids=["png", "jpeg", "jpeg's first directory", "webp"],
)
def test_swarmui_is_read(data):
    read = read_settings(data)
    assert SWARM_READ.items() <= read.items()
    assert (read["Aspectratio"], read["Swarm version"]) == ("1:1", "0.9.5.1")
    fields = fields_of(read)
    assert (fields["width"], fields["steps"], fields["schedule"]) == (640, 20, "Karras")


INVOKE = {
    "app_version": "5.4.2",
    "generation_mode": "txt2img",
    "positive_prompt": "a red mug",
    "negative_prompt": "fog",
    "width": 512,
    "height": 768,
    "seed": 7,
    "cfg_scale": 7.5,
    "steps": 30,
    "scheduler": "dpmpp_2m_k",
    "clip_skip": 1,
    "model": {"key": "1", "name": "dreamer", "base": "sd-1", "type": "main"},
    "vae": {"model_name": "sd-vae-ft-mse", "base_model": "sd-1"},
    "loras": [{"model": {"name": "clay"}, "weight": 0.75}],
    "controlnets": [{"control_model": {"name": "canny"}}],
}


def test_invokeai_is_read():
    read = read_settings(png(invokeai_metadata=json.dumps(INVOKE), invokeai_graph="{}"))
    assert read["prompt"] == "a red mug <lora:clay:0.75>"
    assert (read["Model"], read["VAE"]) == ("dreamer", "sd-vae-ft-mse")
    assert (read["Clip skip"], read["Other settings"]) == ("2", "controlnets")
    assert read["Software"] == "InvokeAI"
    fields = fields_of(read)
    assert (fields["sampler"], fields["schedule"]) == ("DPM++ 2M", "Karras")
    older = json.dumps(INVOKE | {"model": {"model_name": "old"}})
    assert read_settings(png(invokeai_metadata=older))["Model"] == "old"


def test_invokeai_of_2022_is_read():
    command = '"a red mug, soft [fog] light" -s 50 -S 123 -W 512 -H 640 -C 7.5 -A k_euler_a'
    read = read_settings(png(Dream=command))
    assert (read["prompt"], read["negative_prompt"]) == ("a red mug, soft  light", "fog")
    assert (read["Steps"], read["Seed"], read["Size"]) == ("50", "123", "512x640")
    assert read["Sampler"] == "Euler a"
    image = {"prompt": [{"prompt": "a mug", "weight": 1}], "steps": 5, "seed": 9, "cfg_scale": 7,
             "sampler": "k_lms", "width": 512, "height": 512}  # fmt: skip
    document = json.dumps({"model_weights": "stable-diffusion-1.5", "image": image})
    read = read_settings(png(**{"sd__metadata": document}))
    assert (read["prompt"], read["Sampler"]) == ("a mug", "LMS")
    assert read["Model"] == "stable-diffusion-1.5"


def test_fooocus_is_read_where_it_writes():
    document = {
        "prompt": "a red mug",
        "negative_prompt": "fog",
        "styles": "['Fooocus V2']",
        "performance": "Speed",
        "steps": 30,
        "resolution": "(896, 1152)",
        "guidance_scale": 4,
        "sharpness": 2,
        "base_model": "juggernautXL.safetensors",
        "sampler": "dpmpp_2m_sde_gpu",
        "scheduler": "karras",
        "seed": "42",
        "loras": [["offset.safetensors", 0.1, "4852"]],
        "version": "Fooocus v2.5.5",
    }
    text = json.dumps(document)
    files = (
        png(parameters=text, fooocus_scheme="fooocus"),
        exif("JPEG", outer={Base.UserComment: text, Base.Software: "Fooocus v2.5.5"}),
    )
    for data in files:
        read = read_settings(data)
        assert (read["Size"], read["Sampler"]) == ("896x1152", "DPM++ 2M SDE")
        assert (read["Model"], read["Software"]) == ("juggernautXL", "Fooocus")
        assert read["prompt"] == "a red mug <lora:offset:0.1>"
        assert read["Sharpness"] == "2"


def test_novelai_is_read():
    comment = {"steps": 28, "sampler": "k_euler_ancestral", "seed": 5, "strength": 0.7,
               "scale": 5.0, "uc": "lowres", "height": 1216, "width": 832,
               "noise_schedule": "karras"}  # fmt: skip
    read = read_settings(
        png(Title="AI generated image", Description="1girl, mug", Software="NovelAI",
            Source="Stable Diffusion XL 7BCCAA2C", Comment=json.dumps(comment))
    )  # fmt: skip
    assert (read["prompt"], read["negative_prompt"]) == ("1girl, mug", "lowres")
    assert (read["CFG scale"], read["Size"], read["Sampler"]) == ("5", "832x1216", "Euler a")
    assert (read["Schedule type"], read["Software"]) == ("Karras", "NovelAI")


def hide_text(text: str, packed: bool, size=(40, 30), claimed: int | None = None) -> bytes:
    """A PNG with a text in the lowest bits of its transparency, down the columns."""
    body = gzip.compress(text.encode()) if packed else text.encode()
    head = b"stealth_pngcomp" if packed else b"stealth_pnginfo"
    length = 8 * len(body) if claimed is None else claimed
    bits = np.unpackbits(np.frombuffer(head + length.to_bytes(4, "big") + body, np.uint8))
    alpha = np.full(size[0] * size[1], 254, np.uint8)
    alpha[: len(bits)] |= bits[: len(alpha)]
    picture = Image.new("RGBA", size, (9, 9, 9, 255))
    picture.putalpha(Image.fromarray(alpha.reshape(size).T))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_settings_in_the_transparency_are_read():
    comment = json.dumps({"steps": 28, "seed": 5, "scale": 5.0, "uc": "lowres", "sampler": "ddim"})
    texts = {"Description": "1girl", "Software": "NovelAI", "Source": "SDXL", "Comment": comment}
    read = read_settings(hide_text(json.dumps(texts), packed=True, size=(80, 60)))
    assert (read["prompt"], read["Seed"], read["Software"]) == ("1girl", "5", "NovelAI")
    for packed in (False, True):
        read = read_settings(hide_text(f"a mug\n{FACTS}", packed))
        assert (read["prompt"], read["Steps"]) == ("a mug", "20")
    assert read_settings(hide_text("", packed=True, claimed=2**32 - 1)) == {}
    assert read_settings(hide_text("[1]", packed=False)) == {}
    bomb = hide_text("x" * 50_000_000, packed=True, size=(900, 700))
    with pytest.raises(BadRequest, match="2000000 characters; at most 200000"):
        read_settings(bomb)


def test_draw_things_is_read():
    document = {"c": "a red & blue mug", "uc": "fog", "model": "sd_v1.5_f16.ckpt", "steps": 20,
                "sampler": "DPM++ 2M Karras", "scale": 7.5, "seed": 4, "size": "512x640",
                "lora": [{"model": "clay_f16.ckpt", "weight": 0.6}], "v2": {"a": 1}}  # fmt: skip
    inside = json.dumps(document).replace("&", "&amp;").replace('"', "&quot;")
    xmp = (
        '<x:xmpmeta><rdf:RDF><rdf:Description><xmp:CreatorTool>Draw Things</xmp:CreatorTool>'
        f'<exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">{inside}</rdf:li></rdf:Alt>'
        "</exif:UserComment></rdf:Description></rdf:RDF></x:xmpmeta>"
    )  # fmt: skip
    read = read_settings(png(xmp=xmp))
    assert read["prompt"] == "a red & blue mug <lora:clay_f16:0.6>"
    assert (read["Size"], read["Model"]) == ("512x640", "sd_v1.5_f16")
    assert (read["Software"], read["Other settings"]) == ("Draw Things", "v2")


def test_easy_diffusion_and_mflux_are_read():
    read = read_settings(
        png(prompt="a mug", negative_prompt="fog", seed="3", sampler_name="euler_a",
            use_stable_diffusion_model="sd-v1-4", num_inference_steps="25", width="512",
            height="512", guidance_scale="7.5")
    )  # fmt: skip
    assert (read["Model"], read["Steps"], read["Sampler"]) == ("sd-v1-4", "25", "Euler a")
    assert read["Software"] == "Easy Diffusion"
    text = json.dumps({"prompt": "a mug", "seed": 3, "steps": 4, "guidance": 3.5, "model": "dev"})
    read = read_settings(exif("JPEG", inner={Base.UserComment: comment_of(text)}))
    assert (read["prompt"], read["CFG scale"]) == ("a mug", "3.5")


# --- ComfyUI --------------------------------------------------------------------------------------

GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 42, "steps": 24, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras",
        "denoise": 1, "model": ["10", 0], "positive": ["12", 0], "negative": ["12", 1],
        "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "xl\\base.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 832, "height": 1216,
                                                       "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["20", 0], "clip": ["11", 0]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["11", 0]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["8", 0]}},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "clay.safetensors",
           "strength_model": 0.8, "strength_clip": 1, "model": ["4", 0], "clip": ["4", 1]}},
    "11": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -2,
                                                        "clip": ["10", 1]}},
    "12": {"class_type": "ControlNetApplyAdvanced", "inputs": {"strength": 0.7,
           "positive": ["6", 0], "negative": ["7", 0], "control_net": ["13", 0],
           "image": ["14", 0]}},
    "13": {"class_type": "ControlNetLoader", "inputs": {"control_net_name": "canny"}},
    "14": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "20": {"class_type": "String Literal", "inputs": {"string": "a red mug"}},
}  # fmt: skip
GRAPH_READ = {
    "prompt": "a red mug <lora:clay:0.8>",
    "negative_prompt": "fog",
    "Steps": "24",
    "Sampler": "DPM++ 2M",
    "Schedule type": "Karras",
    "CFG scale": "6.5",
    "Seed": "42",
    "Size": "832x1216",
    "Model": "base",
    "Clip skip": "2",
    "Other nodes": "ControlNetApplyAdvanced, ControlNetLoader, LoadImage, String Literal",
    "Software": "ComfyUI",
}
FLUX = {
    "5": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 768}},
    "6": {"class_type": "CLIPTextEncodeFlux", "inputs": {"clip_l": "mug", "t5xxl": "a red mug",
                                                         "guidance": 3.5, "clip": ["11", 0]}},
    "11": {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "t5", "clip_name2": "l"}},
    "12": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
    "13": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["25", 0],
           "guider": ["22", 0], "sampler": ["16", 0], "sigmas": ["17", 0],
           "latent_image": ["5", 0]}},
    "16": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "17": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 20,
                                                      "denoise": 1.0, "model": ["12", 0]}},
    "22": {"class_type": "BasicGuider", "inputs": {"model": ["12", 0], "conditioning": ["6", 0]}},
    "25": {"class_type": "RandomNoise", "inputs": {"noise_seed": 99}},
}  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        png(prompt=json.dumps(GRAPH), workflow='{"nodes": [], "links": []}'),
        png(prompt=json.dumps(GRAPH)),
        exif("WEBP", outer={Base.Model: "prompt:" + json.dumps(GRAPH), Base.Make: "workflow:{}"}),
        exif("JPEG", inner={Base.UserComment: comment_of(json.dumps({"prompt": GRAPH}))}),
    ],
    ids=["png", "without a workflow", "webp", "jpeg"],
)
def test_comfyui_is_read(data):
    assert read_settings(data) == GRAPH_READ


def test_comfyui_with_its_sampler_in_parts_is_read():
    read = read_settings(png(prompt=json.dumps(FLUX)))
    assert read["prompt"] == "mug, a red mug"
    assert (read["Seed"], read["Steps"], read["Sampler"]) == ("99", "20", "Euler")
    assert (read["Model"], read["Size"]) == ("flux1-dev", "1024x768")
    assert read["Distilled CFG Scale"] == "3.5"


def test_of_two_samplers_the_first_is_read_and_the_other_is_told():
    second = {"class_type": "KSampler", "inputs": {**GRAPH["3"]["inputs"], "steps": 9,
              "denoise": 0.4, "latent_image": ["3", 0]}}  # fmt: skip
    read = read_settings(png(prompt=json.dumps({"2": second, **GRAPH})))
    assert (read["Steps"], read["Further samplers"]) == ("24", "1")
    assert "Denoising strength" not in read


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (png(workflow='{"nodes": [], "links": []}'), "workflow of ComfyUI without the values"),
        (png(prompt=json.dumps({"1": {"class_type": "LoadImage", "inputs": {}}})), "a sampler"),
        (png(parameters='{"colour": "red", "size": 3}'), "a program that is not known"),
        (png(parameters="{" + " " * 2_100_000 + "}"), "2100002 characters; at most 2000000"),
        (png(parameters="x" * 300_000), "300000 characters; at most 200000"),
    ],
)
def test_settings_that_cannot_be_read_are_not_said_to_be_missing(data, sentence):
    with pytest.raises(BadRequest, match=sentence):
        read_settings(data)


def test_a_text_that_was_left_out_is_told():
    info = PngInfo()
    info.add_text("workflow", "x" * 9_000_000, zip=True)
    with pytest.raises(BadRequest, match="too long to be read, or damaged: workflow"):
        read_settings(save_with("PNG", pnginfo=info))


@pytest.mark.parametrize(
    "data",
    [
        save_with("PNG"),
        png(Software="Krita", Comment="by hand", Author="Ada"),
        png(Comment='{"steps": "up the hill"}'),
        exif("JPEG", inner={Base.UserComment: b"ASCII\0\0\0Screenshot"}),
        exif("JPEG", outer={Base.ImageDescription: "At the sea", Base.Make: "Camera: one"}),
        save_with("JPEG", comment=b"CREATOR: gd-jpeg v1.0"),
    ],
)
def test_a_picture_without_settings_has_none(data):
    assert read_settings(data) == {}


def test_deep_and_endless_graphs_are_given_up():
    deep = '{"prompt": ' + "[" * 50_000 + "]" * 50_000 + "}"
    with pytest.raises(BadRequest, match="not known here"):
        read_settings(png(parameters=deep))
    ring = {str(n): {"class_type": "A", "inputs": {"a": [str(n + 1), 0], "b": ["0", 0]}}
            for n in range(4000)}  # fmt: skip
    ring |= {f"s{n}": GRAPH["3"] | {"inputs": {**GRAPH["3"]["inputs"], "model": ["0", 0],
             "latent_image": ["0", 0], "positive": ["0", 0]}} for n in range(900)}  # fmt: skip
    start = time.perf_counter()
    read_settings(png(prompt=json.dumps(ring)))
    assert time.perf_counter() - start < PROMPTLY


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("k_dpmpp_2s_ancestral", "DPM++ 2S a"),
        ("euler_k", "Euler Karras"),
        ("DPM++ 2M Karras", "DPM++ 2M Karras"),
        ("res_multistep", "res_multistep"),
        ("dpmpp_2m_sde_heun_gpu", "DPM++ 2M SDE Heun"),
    ],
)
def test_samplers_have_a1111_s_names(theirs, ours):
    assert sampler_name(theirs) == ours


# --- lines that extensions add --------------------------------------------------------------------

FACTS = "Steps: 20, Sampler: Euler, Seed: 1, Size: 8x8"


def test_lines_behind_the_parameters_are_values_of_their_own():
    read = parse_parameters(
        f"a mug\nNegative prompt: fog\n{FACTS}\nTemplate: a {{red|blue}} mug,\nsoft: (a:1), b: c\n"
        "Negative Template: (fog:1.4), (dark:1.2), (blurry: 1.3)"
    )
    assert (read["prompt"], read["negative_prompt"]) == ("a mug", "fog")
    assert (read["Steps"], read["Size"]) == ("20", "8x8")
    assert read["Template"] == "a {red|blue} mug,\nsoft: (a:1), b: c"
    assert read["Negative Template"] == "(fog:1.4), (dark:1.2), (blurry: 1.3)"
    assert parse_parameters(f"a mug\n{FACTS}\nand more")["Text behind the settings"] == "and more"


def test_parameters_inside_a_prompt_are_no_parameters():
    text = f"a note:\n{FACTS}\nthe end\nCFG scale: 7, Seed: 9, Version: Atelier 0.1.0"
    read = parse_parameters(text)
    assert (read["Seed"], read["prompt"]) == ("9", f"a note:\n{FACTS}\nthe end")
    read = parse_parameters(f"a note:\n{FACTS}\nthe end\n{FACTS.replace('Seed: 1', 'Seed: 9')}")
    assert (read["Seed"], read["prompt"]) == ("9", f"a note:\n{FACTS}\nthe end")


@pytest.mark.parametrize("prompt", ["{red|blue} mug", "{}", '{"a": 1} mug', "{a} mug {b}"])
def test_a_prompt_in_braces_is_no_document(prompt):
    text = f"{prompt}\n{FACTS}, Hashes: {{}}"
    assert read_settings(png(parameters=text))["prompt"] == prompt
    if prompt != "{}":
        assert read_settings(png(parameters=prompt))["prompt"] == prompt


def test_of_thousands_of_values_some_are_shown_and_the_rest_counted():
    read = parse_parameters(f"a mug\n{FACTS}, " + ", ".join(f"Name {n}: x" for n in range(9000)))
    assert (len(read), read["Further settings"]) == (503, "8504")


def test_values_that_are_bare_json_are_kept_whole():
    resources = '[{"type":"checkpoint","modelVersionId":128713},{"weight":0.8,"type":"lora"}]'
    read = parse_parameters(
        f"a mug\n{FACTS}, Civitai resources: {resources}, Civitai metadata: {{}}, Clip skip: 2"
    )
    assert read["Civitai resources"] == resources
    assert (read["Civitai metadata"], read["Clip skip"]) == ("{}", "2")


@pytest.mark.parametrize("piece", [": [", ': ["', ": {", "Aa: [1], ", "\nSteps: ", "\nA: "])
def test_odd_texts_take_time_in_proportion_to_their_length(piece):
    start = time.perf_counter()
    parse_parameters("a\n" + piece * (200_000 // len(piece)) + "!")
    assert time.perf_counter() - start < PROMPTLY


WRITTEN = "a mug\nNegative prompt: blur\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5"


@pytest.mark.parametrize(
    "data",
    [
        png(Description=WRITTEN),
        png(Comment=WRITTEN),
        save_with("JPEG", comment=WRITTEN.encode()),
        exif("JPEG", outer={0x9C9C: WRITTEN.encode("utf-16-le") + b"\0\0"}),
        exif("WEBP", outer={0x010E: WRITTEN}),
        png(parameters=WRITTEN + "\0"),
    ],
)
def test_a1111_s_text_is_found_under_whatever_name_it_stands(data):
    settings = read_settings(data)
    assert (settings["prompt"], settings["negative_prompt"]) == ("a mug", "blur")
    assert settings["Seed"] == "5"


def test_a_description_that_speaks_of_steps_is_none_of_settings():
    assert read_settings(png(Description="Steps: cut, glue, dry, then Seed the lawn")) == {}


def test_tensor_art_and_easy_diffusion_s_titles_are_read():
    facts = {
        "prompt": "a mug",
        "steps": 20,
        "seed": "5",
        "cfgScale": 7,
        "width": 512,
        "height": 768,
    }
    settings = read_settings(png(generation_data=json.dumps(facts) + "\0"))
    assert (settings["Software"], settings["Size"]) == ("Tensor.Art", "512x768")
    titles = {"Prompt": "a mug", "Seed": "5", "Steps": "20", "Width": "512", "Height": "768"}
    settings = read_settings(png(**titles))
    assert (settings["prompt"], settings["Size"]) == ("a mug", "512x768")


def test_loras_of_swarmui_as_one_text_are_named():
    params = {"prompt": "a mug", "seed": 5, "loras": "a, b/c", "loraweights": "0.8,0.5"}
    settings = read_settings(png(parameters=json.dumps({"sui_image_params": params})))
    assert settings["prompt"] == "a mug <lora:a:0.8> <lora:c:0.5>"


def test_programs_that_write_little_are_read_where_nothing_else_is():
    read = read_settings(png(Description="a mug --no fog --ar 16:9 Job ID: 1-2"))
    assert (read["prompt"], read["negative_prompt"], read["Ar"]) == ("a mug", "fog", "16:9")
    assert read["Software"] == "Midjourney"
    words = "Include in Image: a mug; blue; Exclude from Image: ; Model: sd15; Steps: 20; Seed: 5"
    read = read_settings(exif("JPEG", outer={Base.ImageDescription: words}))
    assert (read["prompt"], read["negative_prompt"]) == ("a mug; blue", "")
    assert (read["Steps"], read["Seed"], read["Model"]) == ("20", "5", "sd15")
    assert read_settings(png(prompt="a mug"))["prompt"] == "a mug"
    matrix = json.dumps({"PositivePrompt": "a mug", "Steps": 20, "Seed": 5, "CfgScale": 7})
    assert read_settings(png(**{"parameters-json": matrix}))["CFG scale"] == "7"
    both = read_settings(png(**{"parameters": f"a cup\n{FACTS}", "parameters-json": matrix}))
    assert both["prompt"] == "a cup"
    assert read_settings(png(prompt="{}", parameters=f"a cup\n{FACTS}"))["prompt"] == "a cup"


def test_loras_negative_prompts_and_styles_of_fooocus_are_kept():
    fields = {"Prompt": "a mug", "Negative": "fog", "steps": 30, "seed": 5,
              "lora_combined_1": "soft.safetensors : 0.25"}  # fmt: skip
    read = read_settings(png(parameters=json.dumps(fields)))
    assert (read["prompt"], read["negative_prompt"]) == ("a mug <lora:soft:0.25>", "fog")
    read = parse_parameters(f"a mug\n{FACTS}, Styles: ['Fooocus V2', 'Fooocus Sharp'], Version: x")
    assert (read["Styles"], read["Version"]) == ("['Fooocus V2', 'Fooocus Sharp']", "x")


def test_settings_in_xmp_are_found_within_its_markup():
    words = f"a mug &amp; a cup&#xA;{FACTS}"
    xmp = f"<rdf:li xml:lang='x-default'>{words}</rdf:li>".encode()
    assert read_settings(save_with("JPEG", xmp=xmp))["prompt"] == "a mug & a cup"


def test_a_prompt_with_colons_is_none_of_parameters():
    text = "a mug\nlight: soft, mood: calm, style: oil"
    assert parse_parameters(text) == {"prompt": text, "negative_prompt": ""}


def test_names_in_other_letters_and_sizes_of_other_signs_are_read():
    read = parse_parameters("a mug\nNegative prompt: fog\nsteps: 20, seed: 5, CFG Scale: 7")
    assert read == {"prompt": "a mug", "negative_prompt": "fog", "Steps": "20", "Seed": "5",
                    "CFG scale": "7"}  # fmt: skip
    for size in ("512x768", "512 × 768", "512X768", "512*768"):
        fields = fields_of({"Size": size})
        assert (fields["width"], fields["height"]) == (512, 768)
    old = {"Sampler": "DPM++ 2M Karras", "Schedule type": "Automatic"}
    assert (fields_of(old)["sampler"], fields_of(old)["schedule"]) == ("DPM++ 2M", "Karras")


def test_quotation_marks_of_windows_are_none_of_control_characters():
    info = PngInfo()
    info.add(b"tEXt", b"parameters\0" + f"“mug” – it’s 5 €\n{FACTS}".encode("cp1252"))
    assert read_settings(save_with("PNG", pnginfo=info))["prompt"] == "“mug” – it’s 5 €"
