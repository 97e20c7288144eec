"""Odd but valid single-file checkpoints are used; of others is said what they lack."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.core.errors import UserError
from pipelines.core.paths import SINGLE_FILE_CONFIGS
from pipelines.diffusion.loading import load
from pipelines.models.catalog import Catalog
from pipelines.models.original_layout import TEXT_ENCODERS, UNET, VAE, expected_parts
from tests.original_layout import save_single_file
from tests.pipelines.diffusion.test_loading import load_folder, quiet
from tests.sweeps.plain_sentences import check_sentence

pytestmark = pytest.mark.deep

FAMILIES = ("sd1", "sdxl")
PREFIXES = {family: (UNET, VAE, *TEXT_ENCODERS[family].values()) for family in FAMILIES}
TITLES = {UNET: "U-Net", VAE: "VAE", "conditioner.embedders.1.model.": "CLIP-G text encoder"}
DTYPES = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2")
# What programs leave in their files besides the model.
EXTRAS = {
    "model_ema.decay": [],
    "model_ema.diffusion_modelinput_blocks00weight": [320],
    "cond_stage_model.transformer.text_model.embeddings.position_ids": [1, 77],
    "conditioner.embedders.1.model.logit_scale": [],
    "betas": [1000],
    "alphas_cumprod": [1000],
    "denoiser.sigmas": [1000],
    "first_stage_model.loss.logvar": [],
    "v_pred": [],
    "ztsnr": [],
    "optimizer.state.0": [4],
}
PROJECTIONS = ("proj_in.weight", "proj_out.weight", ".q.weight")
OLD_NAMES = (
    ("transformer.text_model.", "transformer."),
    (VAE, "vae."),
    (UNET, "diffusion_model."),
)


def shapes_of(family: str, configs: Path = SINGLE_FILE_CONFIGS) -> dict[str, list[int]]:
    parts = expected_parts(configs / family, family)
    return {name: list(shape) for part in parts for name, shape in part.tensors.items()}


def write_header(
    home: Path, shapes: dict[str, list[int]], dtypes: dict[str, str], metadata
) -> Path:
    """A file with a header and no numbers behind it, which is all that the catalog reads."""
    header: dict = {} if metadata is None else {"__metadata__": metadata}
    for name, shape in shapes.items():
        header[name] = {"dtype": dtypes.get(name, "F16"), "shape": shape, "data_offsets": [0, 0]}
    text = json.dumps(header).encode()
    path = home / "models" / "odd.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def refusal(home: Path) -> str | None:
    """Why the file cannot be used, a plain sentence in both languages; None: it can."""
    catalog = Catalog(home)
    (entry,) = [entry for entry in catalog.models() if entry.name == "odd"]
    try:
        catalog.get("odd")
    except UserError as error:
        check_sentence(error)
        assert entry.refused is not None
        return str(error)
    assert entry.refused is None
    return None


def rename_layers(shapes: dict, draw: random.Random) -> dict:
    for old, new in OLD_NAMES:
        if draw.random() < 0.3:
            shapes = {name.replace(old, new): shape for name, shape in shapes.items()}
    return shapes


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_files_of_all_programs_are_taken_for_what_they_are(tmp_path, family):
    for case in range(60):
        draw = random.Random(case)
        shapes = shapes_of(family)
        extras = draw.sample(sorted(EXTRAS), draw.randrange(len(EXTRAS)))
        other = "conditioner." if family == "sd1" else "cond_stage_model."
        shapes |= {name: EXTRAS[name] for name in extras if not name.startswith(other)}
        # 1×1 convolutions and matrices are the same numbers.
        for name, shape in shapes.items():
            if len(shape) == 2 and name.endswith(
                ("proj_in.weight", "proj_out.weight", ".q.weight")
            ):
                shapes[name] = [*shape, 1, 1] if draw.random() < 0.5 else shape
        dtype = draw.choice(DTYPES)
        dtypes = dict.fromkeys(shapes, dtype) | {
            name: "I64" for name in shapes if name.endswith("position_ids")
        }
        metadata = draw.choice((None, {}, {"modelspec.prediction_type": "v"}, {"format": "pt"}))
        items = list(rename_layers(shapes, draw).items())
        draw.shuffle(items)
        write_header(tmp_path, dict(items), dtypes, metadata)
        assert refusal(tmp_path) is None, case
        assert Catalog(tmp_path).get("odd").family == family


def owner_of(name: str, family: str) -> str:
    return next(prefix for prefix in PREFIXES[family] if name.startswith(prefix))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_missing_is_counted_and_named_rightly(tmp_path, family):
    for case in range(80):
        draw = random.Random(1000 + case)
        shapes = shapes_of(family)
        prefix = draw.choice(PREFIXES[family])
        own = [name for name in shapes if name.startswith(prefix)]
        gone = (
            own if draw.random() < 0.3 else draw.sample(own, draw.randrange(1, min(len(own), 50)))
        )
        write_header(tmp_path, {k: v for k, v in shapes.items() if k not in gone}, {}, None)
        said = refusal(tmp_path)
        assert said is not None, case
        title = TITLES.get(prefix, "CLIP-L text encoder")
        blocks = any(name.startswith(f"{UNET}input_blocks.") for name in shapes if name not in gone)
        if not blocks:
            assert "no U-Net of Stable Diffusion beside it" in said
        elif gone == own:
            if family == "sdxl" or not prefix.startswith("cond"):
                assert f"odd.safetensors has no {title} in it." in said, case
        else:
            found = re.search(
                r"lacks (\d+) of the (\d+) tensors of its (.+), (\S+) among them", said
            )
            assert found is not None, said
            assert (int(found[1]), int(found[2]), found[3]) == (len(gone), len(own), title)
            assert found[4] in gone


@pytest.mark.parametrize("family", FAMILIES)
def test_another_shape_or_kind_of_numbers_is_named_rightly(tmp_path, family):
    for case in range(40):
        draw = random.Random(2000 + case)
        shapes, dtypes = shapes_of(family), {}
        name = draw.choice(sorted(shapes))
        if draw.random() < 0.5:
            shapes[name] = [side + 1 for side in shapes[name]]
        else:
            dtypes = {each: draw.choice(("I8", "U8", "I32", "BOOL", "F4")) for each in shapes}
        write_header(tmp_path, shapes, dtypes, None)
        said = refusal(tmp_path)
        assert said is not None, case
        if dtypes:
            assert re.search(r"weights of the kind (I8|U8|I32|BOOL|F4)", said), said
        elif name == f"{UNET}input_blocks.0.0.weight":
            assert "takes 5 input channels" in said
        else:
            assert name in said
            assert "×".join(map(str, shapes[name])) in said


@pytest.mark.parametrize("part", range(4))
def test_damaged_headers_get_one_plain_sentence(tmp_path, part):
    whole = write_header(tmp_path, shapes_of("sd1"), {}, None).read_bytes()
    for case in range(part, 100, 4):
        draw = random.Random(3000 + case)
        data = bytearray(whole)
        for _ in range(draw.randrange(1, 5)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.3:
            data = data[: draw.randrange(len(data))]
        (tmp_path / "models" / "odd.safetensors").write_bytes(bytes(data))
        refusal(tmp_path)


@pytest.fixture(scope="module")
def checkpoints(twin_folder, tmp_path_factory):
    """Per family a tiny checkpoint's tensors and its configurations."""
    home = tmp_path_factory.mktemp("checkpoints")
    found = {}
    for family in FAMILIES:
        save_single_file(
            load_folder(twin_folder(family), home).pipe, home / f"{family}.safetensors"
        )
        shutil.copytree(twin_folder(family), home / "configs" / family)
        found[family] = load_file(home / f"{family}.safetensors")
    return home / "configs", found


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_listed_as_whole_loads_with_its_numbers(checkpoints, tmp_path, family):
    configs, found = checkpoints
    dtypes = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn)
    for case in range(12):
        draw = random.Random(4000 + case)
        dtype = draw.choice(dtypes)
        tensors = {name: each.to(dtype).contiguous() for name, each in found[family].items()}
        extras = [name for name in ("v_pred", "ztsnr", "betas") if draw.random() < 0.3]
        if draw.random() < 0.5:  # matrices for 1×1 convolutions, and the other way round
            for name in [name for name in tensors if name.endswith(PROJECTIONS)]:
                each = tensors[name]
                shape = each.shape[:2] if each.dim() == 4 else (*each.shape, 1, 1)
                tensors[name] = each.reshape(shape)
        tensors = rename_layers(tensors, draw) | {name: torch.zeros(()) for name in extras}
        path = tmp_path / "models" / "odd.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_file(tensors, path, {"format": "pt"})
        entry = Catalog(tmp_path, configs=configs).get("odd")
        pipe = load(entry, "cpu", quiet, True, tmp_path, configs=configs).pipe
        scheduler = pipe.scheduler.config
        assert (scheduler.prediction_type == "v_prediction") == ("v_pred" in extras), case
        assert bool(scheduler.get("rescale_betas_zero_snr")) == ("ztsnr" in extras), case
        for name, ours in (
            (f"{UNET}out.2.weight", pipe.unet.conv_out.weight),
            (f"{VAE}decoder.conv_out.bias", pipe.vae.decoder.conv_out.bias),
        ):
            expected = found[family][name].to(dtype).float()
            torch.testing.assert_close(ours.float(), expected, msg=f"{case} {name}")
        words = next(p for p in pipe.text_encoder.parameters() if p.dim() == 2)
        first = TEXT_ENCODERS[family]["text_encoder"]
        table = found[family][f"{first}text_model.embeddings.token_embedding.weight"]
        torch.testing.assert_close(words.float(), table.to(dtype).float(), msg=str(case))
