"""One LoRA in every style is read as the same changes; names are told by every tool's own."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_lora_to_diffusers,
    _maybe_map_sgm_blocks_to_diffusers,
)
from diffusers.utils import convert_state_dict_to_kohya
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load, load_file, save, save_file

from pipelines.core.errors import BadRequest
from pipelines.diffusion.lora.formats import EMBEDDING, open_lora
from pipelines.diffusion.lora.names import dotted_name, in_original
from pipelines.diffusion.lora.weights import read, read_vectors
from pipelines.diffusion.single_file import CONFIGS
from tests.pipelines.diffusion.lora import files
from tests.pipelines.diffusion.lora.files import write_file


def changes_in(path) -> dict[str, torch.Tensor]:
    """``part.name`` → ΔW as Atelier reads the file, in the shape of the factors."""
    file = open_lora(path, path.name)
    return {
        key: each.delta(torch.empty(each.up.shape[0], *each.down.shape[1:]))
        for key, each in read(path, file, path.name).items()
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, change in expected.items():
        torch.testing.assert_close(found[key], change, atol=1e-6, rtol=1e-5)


# --- styles ---------------------------------------------------------------------------------------


def test_kohya_with_alpha(tmp_path, halves):
    path = write_file(tmp_path, files.kohya(halves, alpha=2.0))
    file = open_lora(path, "mine")
    assert (file.kind, file.style, file.rank, file.alpha) == ("lora", "kohya", 4, 2.0)
    assert file.counts == {
        part: sum(one == part for one, _ in halves) for part in ("unet", "text_encoder")
    }
    assert any(len(down.shape) == 4 for down, _ in halves.values())
    assert_same(changes_in(path), files.changes(halves, scale=0.5))


def test_kohya_without_alpha_has_scale_1(tmp_path, halves):
    path = write_file(tmp_path, files.kohya(halves, alpha=None))
    assert open_lora(path, "mine").alpha is None
    assert_same(changes_in(path), files.changes(halves, scale=1.0))


def test_both_text_encoders_of_sdxl(tmp_path, large_pipe):
    halves = files.random_halves(large_pipe)
    assert {part for part, _ in halves} == {"unet", "text_encoder", "text_encoder_2"}
    path = write_file(tmp_path, files.kohya(halves))
    assert_same(changes_in(path), files.changes(halves, scale=0.5))


@pytest.mark.parametrize(
    ("down", "up"),
    [("lora_A", "lora_B"), ("lora.down", "lora.up"), ("lora_linear_layer.down",
     "lora_linear_layer.up"), ("lora_down", "lora_up")],
)  # fmt: skip
def test_diffusers_styles(tmp_path, halves, down, up):
    path = write_file(tmp_path, files.diffusers_style(halves, down, up))
    assert open_lora(path, "mine").style == "diffusers"
    assert_same(changes_in(path), files.changes(halves, scale=1.0))


def test_names_that_attention_processors_once_had(tmp_path, pipe):
    halves = files.random_halves(pipe, targets=("to_q", "to_k", "to_v", "to_out.0"))
    tensors = {}
    for (_, name), (down, up) in halves.items():
        stem, _, last = name.removesuffix(".0").rpartition(".")
        for role, tensor in (("down", down), ("up", up)):
            tensors[f"{stem}.processor.{last}_lora.{role}.weight"] = tensor
    path = write_file(tmp_path, save(tensors))
    assert_same(changes_in(path), files.changes(halves, scale=1.0))


def test_what_diffusers_itself_saves_with_its_alphas(tmp_path, models):
    """By peft and ``save_lora_weights``, the way diffusers' training scripts go."""
    pipe = StableDiffusionPipeline.from_pretrained(models / "tiny-sd1")
    config = LoraConfig(r=4, lora_alpha=3, target_modules=["to_q", "to_v", "conv1"],
                        rank_pattern={"mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 2},
                        alpha_pattern={"attn2.to_v": 8}, init_lora_weights=False)  # fmt: skip
    pipe.unet.add_adapter(config)
    text = LoraConfig(r=2, lora_alpha=5, target_modules=["q_proj"], init_lora_weights=False)
    pipe.text_encoder.add_adapter(text)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(pipe.unet),
        text_encoder_lora_layers=get_peft_model_state_dict(pipe.text_encoder),
        unet_lora_adapter_metadata=config.to_dict() | {"target_modules": ["to_q"]},
        text_encoder_lora_adapter_metadata=text.to_dict() | {"target_modules": ["q_proj"]},
    )
    found = changes_in(tmp_path / "pytorch_lora_weights.safetensors")
    count = 0
    for part in ("unet", "text_encoder"):
        for name, module in getattr(pipe, part).named_modules():
            if hasattr(module, "lora_A"):
                long = f"text_model.{name}" if name.startswith("encoder.") else name
                expected = module.get_delta_weight("default_0" if "default_0" in module.lora_A
                                                   else "default")  # fmt: skip
                torch.testing.assert_close(found[f"{part}.{long}"], expected.detach())
                count += 1
    assert count == len(found) > 10


def test_what_peft_itself_saves(tmp_path, models):
    unet = UNet2DConditionModel.from_pretrained(models / "tiny-sd1" / "unet")
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["to_k", "ff.net.2"],
                        init_lora_weights=False)  # fmt: skip
    wrapped = get_peft_model(unet, config)
    wrapped.save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    assert all(key.startswith("base_model.model.") for key in load_file(path))
    assert open_lora(path, "mine").style == "peft"
    found = changes_in(path)
    for name, module in unet.named_modules():
        if hasattr(module, "lora_A"):
            expected = module.get_delta_weight("default").detach()
            torch.testing.assert_close(found.pop(f"unet.{name}"), expected)
    assert not found


def test_a_convolution_in_three_parts(tmp_path):
    """LyCORIS' LoCon with ``lora_mid``: up · mid · down, written out index by index."""
    generator = torch.Generator().manual_seed(1)
    down, mid, up = (torch.randn(*shape, generator=generator)
                     for shape in ((3, 16, 1, 1), (3, 3, 3, 3), (32, 3, 1, 1)))  # fmt: skip
    stem = "lora_unet_down_blocks_0_resnets_0_conv1"
    tensors = {f"{stem}.lora_{role}.weight": t
               for role, t in (("down", down), ("mid", mid), ("up", up))}  # fmt: skip
    path = write_file(tmp_path, save(tensors))
    expected = torch.zeros(32, 16, 3, 3)
    for a in range(3):
        for b in range(3):
            column = up[:, a, 0, 0][:, None, None, None]
            row = down[b, :, 0, 0][None, :, None, None]
            expected += column * row * mid[a, b][None, None]
    assert_same(changes_in(path), {"unet.down_blocks.0.resnets.0.conv1": expected})


def test_rank_stabilised_scaling_is_followed(tmp_path, halves):
    facts = {"unet.r": 4, "unet.lora_alpha": 6, "unet.use_rslora": True}
    unet = {key: value for key, value in halves.items() if key[0] == "unet"}
    tensors = load(files.diffusers_style(unet))
    path = write_file(tmp_path, save(tensors, {"lora_adapter_metadata": json.dumps(facts)}))
    assert_same(changes_in(path), files.changes(unet, scale=6 / 4**0.5))


# --- names against diffusers' own converters ------------------------------------------------------


def real_unet(family: str) -> UNet2DConditionModel:
    """Of the size that people use, without weights."""
    config = UNet2DConditionModel.load_config(CONFIGS / family / "unet")
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(config)


def names_in(model) -> list[str]:
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_every_module_of_a_real_unet_is_found_again(family):
    names = names_in(real_unet(family))
    assert len(names) > 200
    assert [dotted_name(name.replace(".", "_")) for name in names] == names


def test_every_module_of_text_encoders_is_found_again(pipe, large_pipe):
    for part, name, _ in files.modules_of(large_pipe, targets=("",)):
        if part != "unet":
            assert dotted_name(name.replace(".", "_")) == name


def original_name(name: str) -> str:
    """A module of SDXL's U-Net under the name of the original code, as sd-scripts' map has it."""
    inner = {"conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "conv2": "out_layers.3",
             "conv_shortcut": "skip_connection"}  # fmt: skip
    fixed = {"conv_in": "input_blocks.0.0", "conv_out": "out.2",
             "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
             "add_embedding.linear_1": "label_emb.0.0",
             "add_embedding.linear_2": "label_emb.0.2"}  # fmt: skip
    if name in fixed:
        return fixed[name]
    blocks, *rest = name.split(".")
    if blocks == "mid_block":
        kind, number, *rest = rest
        where = f"middle_block.{'1' if kind == 'attentions' else 2 * int(number)}"
    else:
        block, kind, number, *rest = rest
        block, number = int(block), int(number)
        if kind == "downsamplers":
            return f"input_blocks.{3 * block + 3}.0.op"
        if kind == "upsamplers":
            attended = block < 2  # of SDXL's up blocks the first two attend
            return f"output_blocks.{3 * block + 2}.{2 if attended else 1}.conv"
        side = "input_blocks" if blocks == "down_blocks" else "output_blocks"
        index = 3 * block + number + (1 if blocks == "down_blocks" else 0)
        where = f"{side}.{index}.{0 if kind == 'resnets' else 1}"
    tail = ".".join(rest)
    return f"{where}.{inner.get(tail, tail)}"


def test_names_of_sdxl_s_original_code():
    names = names_in(real_unet("sdxl"))
    theirs = [original_name(name).replace(".", "_") for name in names]
    assert [dotted_name(name) for name in theirs] == names
    assert [in_original(name) for name in names] == theirs


@pytest.mark.parametrize("original", [False, True])
def test_names_are_those_that_diffusers_converter_finds(original):
    """Its ``lora_state_dict`` chain, on every attention, feed-forward and convolution of SDXL."""
    wanted = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "net.2", "conv2")
    names = [name for name in names_in(real_unet("sdxl")) if name.endswith(wanted)]
    tensors = {}
    for name in names:
        flat = (original_name(name) if original else name).replace(".", "_")
        tensors[f"lora_unet_{flat}.lora_down.weight"] = torch.ones(1, 2)
        tensors[f"lora_unet_{flat}.lora_up.weight"] = torch.ones(2, 1)
    ours = [dotted_name(key.split(".")[0].removeprefix("lora_unet_")) for key in tensors][::2]
    assert ours == names
    mapped = _maybe_map_sgm_blocks_to_diffusers(tensors, SimpleNamespace(layers_per_block=2))
    converted, _ = _convert_non_diffusers_lora_to_diffusers(mapped)
    theirs = convert_unet_state_dict_to_peft(converted)
    found = {key.removeprefix("unet.").split(".lora_A")[0] for key in theirs if ".lora_A" in key}
    assert found == set(names)


def test_diffusers_own_kohya_export_is_read(tmp_path, halves):
    tensors = load(files.diffusers_style(halves))
    path = tmp_path / "file.safetensors"
    save_file({k: v.float() for k, v in convert_state_dict_to_kohya(tensors).items()}, path)
    assert_same(changes_in(path), files.changes(halves, scale=1.0))


# --- what is known of it --------------------------------------------------------------------------


def attention(width, part="unet", name="mid_block.attentions.0.transformer_blocks.0.attn2.to_k"):
    return {(part, name): (torch.ones(2, width), torch.ones(320, 2))}


@pytest.mark.parametrize(
    ("width", "family"),
    [(768, "sd1"), (1024, "sd2"), (2048, "sdxl"), (192, "starter"), (32, "unet-32")],
)
def test_the_family_is_told_by_the_width_of_the_texts(tmp_path, width, family):
    path = write_file(tmp_path, files.kohya(attention(width)))
    assert open_lora(path, "mine").family == family


@pytest.mark.parametrize(
    ("halves", "metadata", "family"),
    [
        (attention(320, name="conv_in"), {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        (attention(320, name="conv_in"), {"ss_base_model_version": "sd_v2_768_v"}, "sd2"),
        (attention(320, name="conv_in"),
         {"modelspec.architecture": "stable-diffusion-v1/lora"}, "sd1"),
        (attention(320, name="conv_in"), {}, ""),
        (attention(1280, "text_encoder_2", "text_model.encoder.layers.0.mlp.fc1"), {}, "sdxl"),
        (attention(1024, "text_encoder", "text_model.encoder.layers.0.self_attn.q_proj"), {},
         "sd2"),
        (attention(768, "text_encoder", "text_model.encoder.layers.0.self_attn.q_proj"), {}, ""),
    ],
)  # fmt: skip
def test_the_family_where_the_width_does_not_tell_it(tmp_path, halves, metadata, family):
    path = write_file(tmp_path, files.kohya(halves, metadata=metadata))
    assert open_lora(path, "mine").family == family


@pytest.mark.parametrize(
    ("metadata", "triggers"),
    [
        ({"modelspec.trigger_phrase": "sks mug, clay "}, ("sks mug", "clay")),
        ({"ss_tag_frequency": json.dumps({"10_mug": {"sks mug": 12, "table": 3, "red": 12}})},
         ("sks mug", "red")),
        ({"ss_tag_frequency": "{broken"}, ()),
        ({"ss_tag_frequency": "[1]"}, ()),
        ({"ss_tag_frequency": json.dumps({"a": {"b": "c"}, "d": 1})}, ()),
        ({"modelspec.trigger_phrase": "a\x00b\u202ec" + "x" * 500}, ("abc" + "x" * 97,)),
        ({}, ()),
    ],
)  # fmt: skip
def test_trigger_words(tmp_path, metadata, triggers):
    path = write_file(tmp_path, files.kohya(attention(768), metadata=metadata))
    assert open_lora(path, "mine").triggers == triggers


def test_of_a_trainer_s_path_only_the_model_s_name_is_kept(tmp_path):
    metadata = {"ss_sd_model_name": r"C:\Users\Ann\models\dream.safetensors"}
    path = write_file(tmp_path, files.kohya(attention(768), metadata=metadata))
    assert open_lora(path, "mine").base == "dream.safetensors"


@pytest.mark.parametrize(
    ("tensors", "style", "parts"),
    [
        ({"emb_params": (3, 768)}, "kohya", {"text_encoder": (3, 768)}),
        ({"<my-mug>": (768,)}, "diffusers", {"text_encoder": (1, 768)}),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "kohya",
         {"text_encoder": (2, 768), "text_encoder_2": (2, 1280)}),
    ],
)  # fmt: skip
def test_embeddings(tmp_path, tensors, style, parts):
    path = write_file(tmp_path, save({name: torch.randn(*s) for name, s in tensors.items()}))
    file = open_lora(path, "mine")
    assert (file.kind, file.style) == (EMBEDDING, style)
    assert file.family == ("sdxl" if len(parts) == 2 else "sd1")
    vectors = read_vectors(path, file, "mine")
    assert {part: tuple(each.shape) for part, each in vectors.items()} == parts
    if style == "diffusers":
        assert file.triggers == ("<my-mug>",)


# --- what cannot be used --------------------------------------------------------------------------

STEM = "lora_unet_mid_block_resnets_0_conv1"
FLUX = "lora_unet_double_blocks_0_img_attn_qkv"


def ones(**tensors) -> bytes:
    return save({name.replace("__", "."): torch.ones(*shape) for name, shape in tensors.items()})


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (ones(**{f"{FLUX}.lora_down.weight": (1, 2), f"{FLUX}.lora_up.weight": (2, 1)}),
         "is made for Flux. Atelier uses LoRAs of Stable Diffusion"),
        (ones(**{"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (1, 2)}),
         "is made for Flux"),
        (ones(**{"lora_unet_joint_blocks_0_x_block_mlp_fc1.lora_down.weight": (1, 2)}),
         "is made for Stable Diffusion 3"),
        (ones(**{"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": (1, 2)}),
         "a LoRA of a kind of model that Atelier does not know"),
        (ones(**{f"{STEM}.hada_w1_a": (1, 2)}), "is of the kind LoHa. Atelier uses plain LoRAs"),
        (ones(**{f"{STEM}.lokr_w1": (1, 2)}), "is of the kind LoKr"),
        (ones(**{f"{STEM}.a1.weight": (1, 2), f"{STEM}.alpha": (1,)}), "is of the kind GLoRA"),
        (ones(**{f"{STEM}.weight": (2,), f"{STEM}.on_input": (1,)}), "is of the kind IA³"),
        (ones(**{f"{STEM}.diff": (2, 2), f"{STEM}.alpha": (1,)}), "holds whole differences"),
        (ones(**{f"{STEM}.lora_down.weight": (1, 2), f"{STEM}.lora_up.weight": (2, 1),
                 f"{STEM}.dora_scale": (2, 1)}), "is of the kind DoRA"),
        (ones(**{f"{STEM}.lora_down.weight": (1, 2)}), "of unet.mid_block.resnets.0.conv1 it has "
         "only one of the two halves, lora_up is missing"),
        (ones(**{f"{STEM}.lora_down.weight": (1, 2), f"{STEM}.lora_up.weight": (2, 3)}),
         "are 1×2 and 2×3, which do not fit"),
        (ones(**{f"{STEM}.lora_down.weight": (0, 2), f"{STEM}.lora_up.weight": (2, 0)}),
         "do not fit"),
        (ones(**{f"{STEM}.lora_down.weight": (1, 2, 3), f"{STEM}.lora_up.weight": (2, 1, 1)}),
         "do not fit"),
        (ones(**{f"{STEM}.lora_down.weight": (1, 2, 3, 3), f"{STEM}.lora_up.weight": (2, 1, 3, 3)}),
         "do not fit"),
        (ones(**{f"{STEM}.lora_down.weight": (1, 2), f"{STEM}.lora_up.weight": (2, 1),
                 f"{STEM}.alpha": (2,)}), "the alpha of unet.mid_block.resnets.0.conv1 is no "),
        (ones(emb_params=(100, 768)), "learned word of 100 vectors; at most 70 are taken"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_gets_one_sentence(tmp_path, data, sentence):
    with pytest.raises(BadRequest, match=sentence):
        open_lora(write_file(tmp_path, data), "mine")


def three_parts(rank: int, into: int, kernel: tuple[int, int], dtype=torch.float16) -> bytes:
    """A convolution in three parts, as :func:`test_a_convolution_in_three_parts` has it."""
    shapes = {"down": (rank, into, 1, 1), "mid": (rank, rank, *kernel), "up": (8, rank, 1, 1)}
    return save({f"{STEM}.lora_{role}.weight": torch.ones(*shape).to(dtype)
                 for role, shape in shapes.items()})  # fmt: skip


def test_alphas_by_expressions_are_refused_and_by_whole_names_followed(tmp_path):
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    data = ones(**{f"base_model.model.{name}.lora_A.weight": (2, 768),
                   f"base_model.model.{name}.lora_B.weight": (8, 2)})  # fmt: skip
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    said = {"lora_alpha": 16, "alpha_pattern": {f"^{name}": 8}}
    assert open_lora(path, "x", said).alpha == 8
    with pytest.raises(BadRequest, match="which Atelier does not read"):
        open_lora(path, "x", said | {"alpha_pattern": {".*to_k": 8}})


@pytest.mark.parametrize("kernel", [(8, 1), (1, 8), (2000, 2000)])
def test_a_kernel_larger_than_any_model_s_is_refused(tmp_path, kernel):
    """16 MB of it would unpack to 4 GB, of one module alone."""
    path = write_file(tmp_path, three_parts(1, 256, kernel))
    words = f"kernel of unet.mid_block.resnets.0.conv1 is {kernel[0]}×{kernel[1]}; at most 7×7"
    with pytest.raises(BadRequest, match=words):
        open_lora(path, "mine")
    plain = ones(**{f"{STEM}.lora_down.weight": (1, 2, *kernel),
                    f"{STEM}.lora_up.weight": (2, 1, 1, 1)})  # fmt: skip
    with pytest.raises(BadRequest, match="at most 7×7"):
        open_lora(write_file(tmp_path, plain), "mine")


def test_what_unpacks_to_much_more_than_the_file_is_refused_before_it_is_read(tmp_path):
    data = three_parts(1, 8_000_000, (7, 7), torch.float8_e4m3fn)
    assert len(data) < 10**7
    with pytest.raises(BadRequest, match=r"has 8.0 MB, but 1.6 GB once .*; at most 132 MB are"):
        open_lora(write_file(tmp_path, data), "mine")


@pytest.mark.parametrize("rank", [16, 128])
def test_what_trainers_write_in_three_parts_is_taken(tmp_path, rank):
    """Their usual factor for one module, here without anything else in the file."""
    path = write_file(tmp_path, three_parts(rank, 1280, (3, 3)))
    factors = read(path, open_lora(path, "mine"), "mine")
    assert factors["unet.mid_block.resnets.0.conv1"].down.shape == (rank, 1280, 3, 3)


def test_halves_of_whole_numbers_are_refused(tmp_path):
    data = save({f"{STEM}.lora_down.weight": torch.ones(1, 2, dtype=torch.int64),
                 f"{STEM}.lora_up.weight": torch.ones(2, 1, dtype=torch.int64)})  # fmt: skip
    with pytest.raises(BadRequest, match="are of the kind I64, not floating-point numbers"):
        open_lora(write_file(tmp_path, data), "mine")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path, halves, value):
    broken = dict(halves)
    key = next(iter(broken))
    broken[key] = (torch.full_like(broken[key][0], value), broken[key][1])
    path = write_file(tmp_path, files.kohya(broken))
    with pytest.raises(BadRequest, match="holds values that are no numbers"):
        read(path, open_lora(path, "mine"), "mine")


def test_unknown_tensors_beside_a_lora_are_counted(tmp_path, halves):
    third = {"lora_te3_block_0.lora_down.weight": torch.ones(4, 8),
             "lora_te3_block_0.lora_up.weight": torch.ones(8, 4),
             "lora_te3_block_0.alpha": torch.ones(())}  # fmt: skip
    tensors = load(files.kohya(halves)) | {"something.else": torch.ones(1)} | third
    file = open_lora(write_file(tmp_path, save(tensors)), "mine")
    assert set(file.unread) == {"something.else", *third}
    assert file.unread_modules == 2
    assert len(file.modules) == len(halves)
