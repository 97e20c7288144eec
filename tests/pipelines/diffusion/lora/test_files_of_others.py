"""Names, numbers and containers in which other tools keep LoRAs and learned words."""

from __future__ import annotations

import io
import json
import struct
import unicodedata
import zipfile

import pytest
import torch
from safetensors.torch import load, save

from pipelines.core.errors import BadRequest, NotFound
from pipelines.diffusion.lora.formats import EMBEDDING, open_lora
from pipelines.diffusion.lora.header import read_header, scalar
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.names import in_original
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.lora.weights import read
from tests.pipelines.diffusion.lora import files
from tests.pipelines.diffusion.lora.files import write_file

ANN = "ann"
MODULES = (
    "conv_in",
    "time_embedding.linear_1",
    "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k",
    "down_blocks.2.resnets.0.time_emb_proj",
    "down_blocks.1.downsamplers.0.conv",
    "mid_block.attentions.0.proj_in",
    "up_blocks.1.upsamplers.0.conv",
    "up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_out.0",
    "up_blocks.2.resnets.1.conv_shortcut",
)


def halves_of(*stems: str, rank: int = 4) -> dict[str, torch.Tensor]:
    tensors = {}
    for stem in stems:
        tensors[f"{stem}.lora_down.weight"] = torch.ones(rank, 8)
        tensors[f"{stem}.lora_up.weight"] = torch.ones(8, rank)
    return tensors


def dotted_original(name: str) -> str:
    """A module's name in the original code, by its underscored form, which is tested elsewhere."""
    flat = in_original(name)
    block, _, rest = flat.partition("_blocks_") if "_blocks_" in flat else ("", "", flat)
    numbers = rest.split("_", 2)
    if block:
        return f"{block}_blocks." + ".".join(numbers[:2]) + "." + _inner(numbers[2])
    return {
        "time_embed_0": "time_embed.0",
        "middle_block_1_proj_in": "middle_block.1.proj_in",
    }[flat]


def _inner(name: str) -> str:
    return {
        "transformer_blocks_0_attn2_to_k": "transformer_blocks.0.attn2.to_k",
        "transformer_blocks_0_attn1_to_out_0": "transformer_blocks.0.attn1.to_out.0",
        "emb_layers_1": "emb_layers.1",
    }.get(name, name)


@pytest.mark.parametrize(
    "prefix", ["unet.", "lora_unet.", "diffusion_model.", "model.diffusion_model."]
)
def test_dotted_names_of_the_original_blocks_are_the_same_modules(tmp_path, prefix):
    originals = {
        "conv_in": "input_blocks.0.0",
        "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    }
    stems = [f"{prefix}{originals.get(name) or dotted_original(name)}" for name in MODULES]
    file = open_lora(write_file(tmp_path, save(halves_of(*stems))), "mine")
    assert [module.name for module in file.modules] == sorted(MODULES, key=_key_of(file))
    assert {module.part for module in file.modules} == {"unet"}
    assert file.unread == ()


def _key_of(file):
    places = {module.name: place for place, module in enumerate(file.modules)}
    return lambda name: places[name]


@pytest.mark.parametrize(
    ("stem", "part"),
    [
        ("clip_l.text_model.encoder.layers.3.mlp.fc1", "text_encoder"),
        ("clip_g.text_model.encoder.layers.3.mlp.fc1", "text_encoder_2"),
        ("lora_te2.text_model.encoder.layers.3.mlp.fc1", "text_encoder_2"),
        ("text_encoders.clip_g.transformer.text_model.encoder.layers.3.mlp.fc1", "text_encoder_2"),
        ("cond_stage_model.transformer.text_model.encoder.layers.3.mlp.fc1", "text_encoder"),
        ("base_model.model.text_model.encoder.layers.3.mlp.fc1", "text_encoder"),
        ("text_encoder.base_model.model.encoder.layers.3.mlp.fc1", "text_encoder"),
    ],
)
def test_text_encoders_under_the_names_of_others(tmp_path, stem, part):
    (module,) = open_lora(write_file(tmp_path, save(halves_of(stem))), "mine").modules
    assert (module.part, module.name) == (part, "text_model.encoder.layers.3.mlp.fc1")


def test_a_second_adapter_in_one_file_is_counted_as_left_out(tmp_path):
    tensors = {}
    for adapter in ("default", "second"):
        for half, shape in (("A", (4, 8)), ("B", (8, 4))):
            tensors[f"unet.conv_in.lora_{half}.{adapter}.weight"] = torch.ones(*shape)
    file = open_lora(write_file(tmp_path, save(tensors)), "mine")
    assert (len(file.modules), len(file.unread)) == (1, 2)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.float64]
)
@pytest.mark.parametrize("alpha", [1.0, 0.5, 16.0, 0.001953125, 448.0])
def test_alpha_is_read_in_every_precision(tmp_path, dtype, alpha):
    tensors = halves_of("lora_unet_conv_in") | {"lora_unet_conv_in.alpha": torch.tensor(alpha)}
    data = save({key: each.to(dtype) for key, each in tensors.items()})
    file = open_lora(write_file(tmp_path, data), "mine")
    assert file.alpha == float(torch.tensor(alpha).to(dtype))


def test_every_float8_is_read_as_torch_reads_it(tmp_path):
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        numbers = torch.arange(256, dtype=torch.uint8).view(dtype)
        data = save({f"{n:03d}": number.reshape(1) for n, number in enumerate(numbers)})
        path = write_file(tmp_path, data)
        found = [scalar(path, info) for _, info in sorted(read_header(path, "x").tensors.items())]
        expected = [float(n) if n.float().isfinite() else None for n in numbers]
        assert found == expected


def test_a_header_of_640_bytes_is_no_pickle(tmp_path):
    """Its length begins as pickles of the second protocol do: 80 02."""
    stem = "lora_unet_conv_in"
    data = save(halves_of(stem))
    (length,) = struct.unpack("<Q", data[:8])
    for protocol in (2, 3, 4, 5):
        wanted = 0x80 + 256 * protocol
        header = data[8 : 8 + length].ljust(wanted)
        made = struct.pack("<Q", wanted) + header + data[8 + length :]
        assert open_lora(write_file(tmp_path, made), "mine").rank == 4


# --- alpha of PEFT --------------------------------------------------------------------------------

PEFT = "base_model.model.down_blocks.0.resnets.0.conv1"


def peft_file(metadata=None) -> bytes:
    halves = {f"{PEFT}.lora_A.weight": torch.ones(4, 8), f"{PEFT}.lora_B.weight": torch.ones(8, 4)}
    return save(halves, metadata)


def zip_of(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return buffer.getvalue()


CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 16, "base_model_name_or_path": "some/base-v1"}


@pytest.mark.parametrize(
    "metadata",
    [
        {"lora_adapter_metadata": json.dumps({"r": 4, "lora_alpha": 16})},
        {"lora_adapter_metadata": json.dumps({"unet.r": 4, "unet.lora_alpha": 16})},
        {"adapter_config": json.dumps(CONFIG)},
        {"format": "pt", "r": "4", "lora_alpha": "16"},
    ],
)
def test_alpha_in_the_metadata(tmp_path, metadata):
    file = open_lora(write_file(tmp_path, peft_file(metadata)), "mine")
    assert (file.style, file.alpha) == ("peft", 16)


@pytest.mark.parametrize("inside", ["", "output/", "a b/c/"])
def test_a_zip_of_an_adapter_brings_its_alpha(tmp_path, inside):
    data = zip_of(
        {
            f"{inside}adapter_model.safetensors": peft_file(),
            f"{inside}adapter_config.json": json.dumps(CONFIG).encode(),
            f"__MACOSX/{inside}._adapter_model.safetensors": b"x",
            "README.md": b"# mine",
        }
    )
    library = LoraLibrary(tmp_path)
    record = library.add(ANN, "mine", data)
    assert (record.alpha, record.rank, record.base) == (16, 4, "base-v1")
    (factors,) = library.factors(record).values()
    assert factors.scale == 4
    assert {path.name for path in library.path(record).parent.iterdir()} == {
        "about.json",
        "weights.safetensors",
    }


def test_an_adapter_s_folder_is_in_everybody_s_library(tmp_path):
    folder = tmp_path / "loras" / "clay café"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(peft_file())
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    library = LoraLibrary(tmp_path)
    (record,) = library.list(ANN)
    assert (record.name, record.alpha) == ("clay café", 16)
    (factors,) = library.factors(library.find(LoraUse(name="Clay Café"))).values()
    assert factors.scale == 4


LONG_NAMES = {"a" * 60_000 + f"{n}": b"" for n in range(17)}  # a list of a megabyte


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (zip_of({"a.txt": b"x"}), "mine holds no .safetensors file"),
        (zip_of({"a.safetensors": peft_file(), "b.safetensors": b""}),
         r"mine holds 2 \.safetensors files: a\.safetensors, b\.safetensors"),
        (zip_of({"adapter_model.bin": b"x"}), "mine is a pickle"),
        (files.pickle_of({"a": 1}), "mine is a pickle"),
        (zip_of({"a.safetensors": b"x" * 50})[:-30], "cannot be unpacked here"),
        (zip_of({f"{n}.txt": b"" for n in range(1001)}), "a zip file of 1001 files; an adapter"),
        (zip_of(LONG_NAMES), "a zip file of 17 files; an adapter has at most 1000"),
        (zip_of({"a.safetensors": b"\0" * 110_000_000}), "larger than 100 MB once it is unpacked"),
        (zip_of({"adapter_model.safetensors": peft_file(),
                 "adapter_config.json": b'{"peft_type": "LOHA"}'}), "mine is of the kind LoHa"),
    ],
)  # fmt: skip
def test_a_zip_that_cannot_be_used_is_called_what_it_is(tmp_path, data, sentence):
    library = LoraLibrary(tmp_path)
    with pytest.raises(BadRequest, match=sentence):
        library.add(ANN, "mine", data)
    assert list((tmp_path / "loras").iterdir()) == []


def test_a_zip_in_everybody_s_library_is_said_to_need_unpacking(tmp_path, monkeypatch):
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "a.zip").write_bytes(zip_of({"a.safetensors": peft_file()}))
    (reason,) = LoraLibrary(tmp_path).list_refusals()
    assert str(reason) == "a.zip is a zip file. Take the .safetensors out of it, and put that here."
    listed = []  # a long list of names is not read to say so
    monkeypatch.setattr(zipfile.ZipFile, "namelist", lambda self: listed.append(1) or [])
    (tmp_path / "loras" / "a.zip").write_bytes(zip_of(LONG_NAMES))
    (reason,) = LoraLibrary(tmp_path).list_refusals()
    assert (str(reason).partition(".")[0], listed) == ("a", [])


# --- learned words --------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["<my.word>", "sks.v1.2", "flora-style", "<lora>"])
def test_a_word_may_have_any_name(tmp_path, token):
    file = open_lora(write_file(tmp_path, save({token: torch.ones(3, 768)})), "mine")
    assert (file.kind, file.family, file.triggers) == (EMBEDDING, "sd1", (token,))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("clip_l", "clip_g"),
        ("text_encoders_0", "text_encoders_1"),
        ("text_encoder", "text_encoder_2"),
        ("<a>", "<b>"),
        ("word.l", "word.g"),
    ],
)
def test_a_pair_for_sdxl_is_told_by_names_or_widths(tmp_path, first, second):
    data = save({second: torch.ones(2, 1280), first: torch.ones(2, 768)})
    file = open_lora(write_file(tmp_path, data), "mine")
    assert (file.kind, file.family) == (EMBEDDING, "sdxl")
    assert file.vectors == {"text_encoder": first, "text_encoder_2": second}


def test_a_word_for_flux_is_said_to_be_one(tmp_path):
    data = save({"clip_l": torch.ones(2, 768), "t5": torch.ones(2, 4096)})
    with pytest.raises(BadRequest, match="a learned word for a model that reads with T5"):
        open_lora(write_file(tmp_path, data), "mine")


# --- names ----------------------------------------------------------------------------------------


def test_spellings_of_one_name_mean_one_entry(tmp_path, halves):
    library = LoraLibrary(tmp_path)
    (tmp_path / "loras").mkdir()
    decomposed = unicodedata.normalize("NFD", "café lights")
    (tmp_path / "loras" / f"{decomposed} .SAFETENSORS").write_bytes(files.kohya(halves))
    own = library.add(ANN, "Clay", files.kohya(halves))
    for name in ("café lights", "CAFÉ LIGHTS ", decomposed, "café  lights.safetensors"):
        record = library.get(ANN, name)
        assert record.owner == ""
        assert library.factors(record)
    for name in ("clay", "styles\\clay.safetensors", "styles/Clay"):
        assert library.get(ANN, name) == own
    assert library.add(ANN, "CLAY", files.kohya(halves)).name == "CLAY 2"
    assert library.get(ANN, "CLAY 2").name == "CLAY 2"


def test_the_name_that_the_trainer_gave_is_known(tmp_path, halves):
    library = LoraLibrary(tmp_path)
    data = files.kohya(halves, metadata={"ss_output_name": "sksClay_v3"})
    record = library.add(ANN, "my clay", data)
    assert library.get(ANN, "sksclay_V3") == record
    named = library.add(ANN, "sksClay_v3", files.kohya(halves))
    assert library.get(ANN, "sksClay_v3") == named  # a name goes before an alias
    about_file = library.path(record).parent / "about.json"
    fields = json.loads(about_file.read_text())
    del fields["alias"]  # as earlier versions wrote it
    about_file.write_text(json.dumps(fields))
    library.delete(ANN, named.id)
    assert library.get(ANN, "sksClay_v3").id == record.id
    with pytest.raises(NotFound):
        library.get(ANN, "sksClay")


def test_what_was_brought_in_from_any_style_is_the_same_change(tmp_path, halves):
    library = LoraLibrary(tmp_path)
    record = library.add(ANN, "a", files.kohya(halves, alpha=2.0))
    path, file = library.open(record)
    assert {key: each.scale for key, each in read(path, file, "a").items()} == dict.fromkeys(
        (f"{part}.{name}" for part, name in halves), 0.5
    )
    assert load(path.read_bytes())


def test_counts_beside_the_vectors_of_a_learned_word_are_left_alone(tmp_path):
    tensors = {"emb_params": torch.ones(2, 768), "step": torch.tensor(300)}
    file = open_lora(write_file(tmp_path, save(tensors)), "mine")
    assert (file.kind, file.vectors) == (EMBEDDING, {"text_encoder": "emb_params"})


def test_a_trainer_s_name_turns_no_line_around(tmp_path):
    metadata = {"ss_output_name": "\u202efdp\x1b[31m\u2066 cat\nv2"}
    file = open_lora(write_file(tmp_path, save(halves_of("lora_unet_conv_in"), metadata)), "mine")
    assert file.alias == "fdp[31m cat v2"
