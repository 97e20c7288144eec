"""Settings inside pictures: what A1111's own reader makes of ours, and ours of A1111's."""

import io
import json
import random
import re

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from pipelines.diffusion.from_picture.requests import FromPicture
from studio.core.gallery.metadata import (
    decode_user_comment,
    format_parameters,
    parameters_of,
    parse_parameters,
    png_bytes,
    read_settings,
    save_png,
)

A1111 = """a red mug, (wooden floor:1.2)
soft light
Negative prompt: blurry, "ugly"
grey
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Clip skip: 2, \
Lora hashes: "mugs: 0a1b2c3d, floors: 4e5f6a7b", Version: v1.10.1"""

REQUEST = {
    "prompt": "a red mug",
    "negative_prompt": "blurry",
    "model": "starter",
    "style": None,
    "sampler": "DPM++ 2M",
    "schedule": "Karras",
    "steps": 20,
    "guidance": 7.0,
    "guidance_rescale": 0.0,
    "clip_skip": 1,
    "eta": None,
    "width": 512,
    "height": 512,
    "seed": 1,
    "batch_count": 1,
    "batch_size": 1,
}


def a1111_reads(text):
    """A1111's ``parse_generation_parameters``, written out from its documented behaviour."""
    expression = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
    *lines, last = text.strip().split("\n")
    if len(expression.findall(last)) < 3:
        lines.append(last)
        last = ""
    prompts, part = {"prompt": [], "negative_prompt": []}, "prompt"
    for line in (line.strip() for line in lines):
        if line.startswith("Negative prompt:"):
            part, line = "negative_prompt", line[16:].strip()
        prompts[part].append(line)
    facts = {
        name: json.loads(value) if value[:1] == value[-1:] == '"' else value
        for name, value in expression.findall(last)
    }
    return {name: "\n".join(lines) for name, lines in prompts.items()} | facts


def test_a_picture_s_settings_are_written_as_a1111_writes_them():
    text = format_parameters(parameters_of(REQUEST, (512, 512), {"Model hash": "6ce0161689"}))
    assert text == (
        "a red mug\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, "
        "Size: 512x512, Model hash: 6ce0161689, Model: starter, Version: Atelier 0.1.0"
    )


def test_what_has_an_effect_is_said_and_what_has_none_is_not():
    silent = parameters_of(REQUEST, (512, 512))
    assert not {"Clip skip", "CFG rescale", "Eta DDIM", "Style"} & silent.keys()
    changes = {"clip_skip": 2, "guidance_rescale": 0.7, "eta": 1.0, "style": "Ink"}
    text = format_parameters(parameters_of(REQUEST | changes, (512, 512)))
    assert "CFG rescale: 0.7" in text
    assert "Clip skip: 2, Eta DDIM: 1, Style: Ink" in text


def test_the_size_is_the_picture_s_own():
    unset = {**REQUEST, "width": None, "height": None}
    assert parameters_of(unset, (640, 384))["Size"] == "640x384"


def test_facts_of_the_engine_replace_the_request_s_in_its_place():
    facts = parameters_of(REQUEST | {"sampler": None}, (512, 512), {"Sampler": "Euler", "VAE": "x"})
    assert list(facts)[2:4] == ["Steps", "Sampler"]
    assert list(facts)[-2:] == ["VAE", "Version"]


def test_how_a_picture_was_changed_is_written_by_a1111s_names():
    asked = FromPicture(picture="0" * 32, mask="1" * 32, strength=0.6, area="masked")
    facts = parameters_of({**REQUEST, "from_picture": asked.model_dump()}, (512, 512))
    written = {"Denoising strength": 0.6, "Mask blur": 4, "Inpaint area": "Only masked",
               "Masked area padding": 32}  # fmt: skip
    assert written.items() <= facts.items()
    told = FromPicture(picture="0" * 32, edit=True, references=["2" * 32])
    facts = parameters_of({**REQUEST, "from_picture": told.model_dump()}, (512, 512))
    assert (facts["Edit by words"], facts["Further pictures"]) == (True, 1)
    assert "Denoising strength" not in facts


def test_a_comparison_is_written_as_an_xyz_plot():
    request = {"base": REQUEST, "samplers": ["Euler", "LMS"], "steps": [5, 10]}
    facts = parse_parameters(format_parameters(parameters_of(request, (1100, 1200))))
    assert facts["Script"] == "X/Y/Z plot"
    assert (facts["X Type"], facts["X Values"]) == ("Steps", "5, 10")
    assert (facts["Y Type"], facts["Y Values"]) == ("Sampler", "Euler, LMS")
    assert facts["Size"] == "512x512", "a cell's, not the sheet's"
    assert not {"Steps", "Sampler"} & facts.keys()


def test_a_picture_made_larger_keeps_what_its_file_said():
    request = {"picture": "0" * 32, "upscaler": "Lanczos", "scale": 2.0, "about": A1111}
    facts = parameters_of(request, (1024, 1536))
    read = parse_parameters(A1111)
    own = {"Postprocess upscale by": 2.0, "Postprocess upscaler": "Lanczos",
           "Version": "Atelier 0.1.0"}  # fmt: skip
    assert facts == read | own
    again = parse_parameters(format_parameters(facts))
    assert again == {name: str(value) for name, value in (read | own).items()} | {
        "Postprocess upscale by": "2"
    }
    bare = parameters_of({**request, "about": ""}, (64, 64))
    text = format_parameters(bare)
    assert parse_parameters(text)["Postprocess upscaler"] == "Lanczos"


def test_a_picture_of_a1111_is_read():
    assert parse_parameters(A1111) == a1111_reads(A1111) == {
        "prompt": "a red mug, (wooden floor:1.2)\nsoft light",
        "negative_prompt": 'blurry, "ugly"\ngrey',
        "Steps": "20",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "7",
        "Seed": "1",
        "Size": "512x768",
        "Model hash": "6ce0161689",
        "Model": "v1-5-pruned-emaonly",
        "Clip skip": "2",
        "Lora hashes": "mugs: 0a1b2c3d, floors: 4e5f6a7b",
        "Version": "v1.10.1",
    }  # fmt: skip


PROMPTS = [
    "",
    "a red mug",
    "一只红色的杯子，放在木地板上",
    '"quoted" and \\ backslash',
    "Steps: 20, Sampler: Euler, Seed: 3",
    "first line\nSteps: 20, Sampler: Euler, Seed: 3, Size: 1x1\nlast line",
    "a: b, c: d",
    "emoji 🦊 and\ttab",
    "two\n\nparagraphs",
]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("negative", ["", "blurry, 模糊", "Steps: 1, Seed: 2, Size: 3x3"])
def test_prompts_survive_the_file_byte_for_byte(prompt, negative):
    request = REQUEST | {"prompt": prompt, "negative_prompt": negative}
    text = format_parameters(parameters_of(request, (8, 8)))
    read = read_settings(png_bytes(Image.new("RGB", (8, 8)), text))
    assert (read["prompt"], read["negative_prompt"]) == (prompt, negative)
    assert (read["Seed"], read["Sampler"]) == ("1", "DPM++ 2M")


def test_random_texts_survive_and_a1111_reads_the_same():
    draw = random.Random(5)
    letters = 'ab 7,:"\\()[]<>=\n{}%杯子🦊é'
    for _ in range(300):
        prompt, negative, model, style = (
            "".join(draw.choices(letters, k=draw.randrange(1, 30))) for _ in range(4)
        )
        prompt, negative = prompt.strip(), negative.strip()
        # A value in quotes of its own reads as quoted: the format has no escape for it.
        model, style = "m" + model.strip(), "s" + style.strip()
        written = parameters_of(
            REQUEST
            | {"prompt": prompt, "negative_prompt": negative, "model": model, "style": style},
            (512, 512),
        )
        text = format_parameters(written)
        read = parse_parameters(text)
        assert read["prompt"] == prompt
        assert read["negative_prompt"] == negative
        assert (read["Model"], read["Style"]) == (model, style)
        theirs = a1111_reads(text)
        assert (theirs["Model"], theirs["Style"], theirs["Seed"]) == (model, style, "1")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ('5" nails', '5" nails'),
        ("a, b", '"a, b"'),
        ("a: b", '"a: b"'),
        ("a\nb", '"a\\nb"'),
        ("红,蓝", '"红,蓝"'),
    ],
)
def test_a_value_is_quoted_only_for_comma_colon_and_newline(value, written):
    facts = {"prompt": "", "negative_prompt": "", "Style": value, "Seed": 1, "Steps": 2}
    text = format_parameters(facts)
    assert text == f"Style: {written}, Seed: 1, Steps: 2"
    assert parse_parameters(text)["Style"] == value


def test_two_matches_do_not_make_a_line_of_parameters():
    text = "a shelf\nSteps: 20, Seed: 5"
    assert parse_parameters(text) == {"prompt": text, "negative_prompt": ""}
    assert parse_parameters(f"{text}, Size: 8x8")["Seed"] == "5"


def test_windows_line_ends_and_broken_quotes_are_read_leniently():
    read = parse_parameters(
        'a mug\r\nNegative prompt: bad\r\nSteps: 2, Seed: "x, Size: 8x8, A b: 1'
    )
    assert (read["prompt"], read["negative_prompt"], read["Steps"]) == ("a mug", "bad", "2")
    assert read["A b"] == "1"


def test_values_are_text_and_never_run():
    read = parse_parameters('x\nSteps: __import__("os"), Seed: [1], Size: {"a"}, Eta: "\\u00e9,"')
    assert read["Steps"] == '__import__("os")'
    assert read["Eta"] == "é,"


def test_a_fact_does_not_pass_for_a_prompt():
    read = parse_parameters("mine\nSteps: 1, Seed: 2, Size: 8x8, prompt: theirs")
    assert read["prompt"] == "mine"


@pytest.mark.parametrize(("prompt", "chunk"), [("café", b"tEXt"), ("杯子", b"iTXt")])
def test_the_png_chunk_is_text_that_pillow_and_others_read(prompt, chunk):
    data = png_bytes(Image.new("RGB", (8, 8)), prompt)
    assert chunk + b"parameters\0" in data
    assert Image.open(io.BytesIO(data)).text["parameters"] == prompt


def test_without_parameters_a_png_holds_pixels_only(tmp_path):
    image = Image.new("RGB", (8, 8), (1, 2, 3))
    image.info["parameters"] = "of an earlier file"
    path = tmp_path / "deep" / "a.png"
    assert save_png(image, path, None) == path.stat().st_size
    with Image.open(path) as saved:
        assert saved.info == {}
        assert saved.getpixel((0, 0)) == (1, 2, 3)
    assert read_settings(path.read_bytes()) == {}
    assert [each.name for each in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_jpeg_and_webp_carry_settings_in_exif(form):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.UserComment] = b"UNICODE\0" + A1111.encode("utf-16-be")
    Image.new("RGB", (16, 16)).save(buffer, form, exif=exif)
    assert read_settings(buffer.getvalue()) == parse_parameters(A1111)


@pytest.mark.parametrize("text", [A1111, "一只红色的杯子\nSteps: 20, Seed: 1, Size: 8x8"])
@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"UNICODE\0" + text.encode("utf-16-be"),
        lambda text: b"UNICODE\0" + text.encode("utf-16-le"),
        lambda text: b"UNICODE\0" + text.encode("utf-16"),
        lambda text: b"UNICODE\0" + text.encode("utf-8"),
        lambda text: b"ASCII\0\0\0" + text.encode("utf-8"),
        lambda text: b"\0" * 8 + text.encode("utf-8"),
        lambda text: text.encode("utf-8") + b"\0",
    ],
    ids=["utf-16-be", "utf-16-le", "with-mark", "utf-8", "ascii", "unnamed", "no-prefix"],
)
def test_every_way_to_write_a_user_comment_is_read(text, encode):
    assert decode_user_comment(encode(text)) == text
