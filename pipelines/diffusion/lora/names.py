"""The names of a LoRA's tensors in all common styles, and what module of what part each means.

kohya (A1111, Civitai) ``lora_unet_down_blocks_0_…_to_q.lora_down.weight`` with ``.alpha`` beside
it, also with the block names of the original code; diffusers ``unet.….lora_A.weight``,
``….lora.down.weight``, ``….processor.to_q_lora.down.weight``; PEFT
``base_model.model.….lora_A.weight``; ComfyUI ``diffusion_model.input_blocks.….lora_up.weight``;
OneTrainer ``unet.input_blocks.…`` and ``clip_l.…``. Source of kohya's: sd-scripts,
``networks/lora.py`` and ``library/sdxl_model_util.py``; of OneTrainer's: its
``modules/util/convert/lora``.
"""

from __future__ import annotations

import re

PARTS = ("unet", "text_encoder", "text_encoder_2")

_KOHYA = re.compile(r"(lora_unet|lora_te2|lora_te1|lora_te)_([^.]+)\.(.+)")
_KOHYA_PARTS = {
    "lora_unet": "unet",
    "lora_te": "text_encoder",
    "lora_te1": "text_encoder",
    "lora_te2": "text_encoder_2",
}
_KOHYA_ROLES = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "alpha": "alpha",
}
# In all dotted styles: the piece of a name that says which half the tensor is.
_HALVES = {"lora_A": "down", "lora_down": "down", "lora_B": "up", "lora_up": "up",
           "lora_mid": "mid"}  # fmt: skip
_OLD_HALVES = ("lora", "lora_linear_layer", "to_q_lora", "to_k_lora", "to_v_lora", "to_out_lora")
_OLD_NAMES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_UNET_NAMES = {"to_out": "to_out.0"}
_UNET = ("down_blocks.", "mid_block.", "up_blocks.", "conv_in", "conv_out", "time_embedding.",
         "add_embedding.")  # fmt: skip
_PEFT_PREFIX = "base_model.model."
# Before a module's dotted name, the part that it is of; the longer ones first.
_PREFIXES = (
    ("model.diffusion_model.", "unet"),
    ("diffusion_model.", "unet"),
    ("lora_unet.", "unet"),
    ("unet.", "unet"),
    ("text_encoders.clip_l.transformer.", "text_encoder"),
    ("text_encoders.clip_g.transformer.", "text_encoder_2"),
    ("cond_stage_model.transformer.", "text_encoder"),
    ("conditioner.embedders.0.transformer.", "text_encoder"),
    ("text_encoder_2.", "text_encoder_2"),
    ("text_encoder.", "text_encoder"),
    ("lora_te2.", "text_encoder_2"),
    ("lora_te1.", "text_encoder"),
    ("lora_te.", "text_encoder"),
    ("clip_g.", "text_encoder_2"),
    ("clip_l.", "text_encoder"),
)

# Of SDXL's U-Net: what has a name of its own in the original code, and the layers of its resnets.
_ORIGINAL = {
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "time_embedding_linear_1": "time_embed_0",
    "time_embedding_linear_2": "time_embed_2",
    "add_embedding_linear_1": "label_emb_0_0",
    "add_embedding_linear_2": "label_emb_0_2",
}
_ORIGINAL_RESNET = {
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
}
_DIFFUSERS = {original: name for name, original in _ORIGINAL.items()}
_DIFFUSERS_RESNET = {original: name for name, original in _ORIGINAL_RESNET.items()}

# Names of several words, as the modules of U-Nets and CLIP's text encoders have them.
_WORDS = re.compile(
    "down_blocks|mid_block|up_blocks|transformer_blocks|time_emb_proj|time_embedding|add_embedding"
    "|conv_in|conv_out|conv_shortcut|conv_norm_out|proj_in|proj_out|to_q|to_k|to_v|to_out"
    r"|linear_1|linear_2|text_model|self_attn|[qkv]_proj|out_proj|text_projection|[^_]+"
)


def module_of(key: str) -> tuple[str, str, str, str] | None:
    """Style, part, module and role (down, up, mid or alpha) of a tensor; None: it is none of these.

    >>> module_of("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha")
    ('kohya', 'text_encoder', 'text_model.encoder.layers.0.mlp.fc1', 'alpha')
    """
    return _kohya(key) or _dotted_style(key)


def owner_of(key: str) -> str:
    """The module of which a tensor is, be it of a kind that is not known here.

    >>> owner_of("lora_te3_encoder_block_0.lora_down.weight")
    'lora_te3_encoder_block_0'
    """
    found = _name_and_role(key)
    return key if found is None else found[0]


def dotted_name(name: str) -> str:
    """A module's name as its model has it, from kohya's, where underscores stand for dots.

    >>> dotted("down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0")
    'down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0'
    """
    return ".".join(_WORDS.findall(_from_original(name)))


def _kohya(key: str) -> tuple[str, str, str, str] | None:
    match = _KOHYA.fullmatch(key)
    if match is None or match[3] not in _KOHYA_ROLES:
        return None
    part, name = _KOHYA_PARTS[match[1]], dotted_name(match[2])
    if part == "unet" and not name.startswith(_UNET):
        return None
    return "kohya", part, _in_text_model(part, name), _KOHYA_ROLES[match[3]]


def _dotted_style(key: str) -> tuple[str, str, str, str] | None:
    style = "peft" if key.startswith(_PEFT_PREFIX) else "diffusers"
    found = _name_and_role(key.removeprefix(_PEFT_PREFIX))
    if found is None:
        return None
    name, role = found
    name = name.replace(".processor.", ".")
    prefix, part = next((each for each in _PREFIXES if name.startswith(each[0])), ("", None))
    name = name.removeprefix(prefix).removeprefix(_PEFT_PREFIX)
    if part == "unet" and not name.startswith(_UNET):  # the blocks of the original code
        name = dotted_name(name.replace(".", "_"))
    if part is None and name.startswith(_UNET):
        part = "unet"
    elif part is None and name.startswith(("text_model.", "encoder.layers.")):
        part = "text_encoder"
    if part is None or (part == "unet" and not name.startswith(_UNET)):
        return None
    if name.endswith("_lora"):  # the names that attention processors had
        stem, _, last = name.removesuffix("_lora").rpartition(".")
        name = f"{stem}.{_OLD_NAMES[last] if part != 'unet' else _UNET_NAMES.get(last, last)}"
    return style, part, _in_text_model(part, name), role


def _name_and_role(key: str) -> tuple[str, str] | None:
    """A tensor's dotted name as its module's and its role; None where it says no role.

    >>> _name_and_role("unet.mid_block.conv1.lora_A.default.weight")
    ('unet.mid_block.conv1', 'down')
    >>> _name_and_role("unet.conv_in.lora.up.weight")
    ('unet.conv_in', 'up')
    """
    if key.endswith(".alpha"):
        return key.removesuffix(".alpha"), "alpha"
    pieces = key.rsplit(".", 3)
    if len(pieces) < 3 or pieces[-1] != "weight":
        return None
    if pieces[-2] in _HALVES:
        return key.rsplit(".", 2)[0], _HALVES[pieces[-2]]
    if len(pieces) < 4:
        return None
    stem, half, direction, _ = pieces
    if half in _HALVES:  # with the adapter's name behind it
        return stem, _HALVES[half]
    if half in _OLD_HALVES and direction in ("down", "up"):
        return (f"{stem}.{half}" if half.startswith("to_") else stem), direction
    return None


def _in_text_model(part: str, name: str) -> str:
    """Text encoders' modules by the long form of their names, with ``text_model.`` in front."""
    return f"text_model.{name}" if part != "unet" and name.startswith("encoder.") else name


def in_original(name: str) -> str:
    """kohya's name for a module of SDXL's U-Net: after the blocks of the original code.

    sd-scripts trains SDXL on that code's own U-Net, and finds a LoRA's modules by its names only.

    >>> in_original("down_blocks.1.attentions.0.proj_in")
    'input_blocks_4_1_proj_in'
    >>> in_original("up_blocks.1.upsamplers.0.conv")
    'output_blocks_5_2_conv'
    """
    flat = name.replace(".", "_")
    if flat in _ORIGINAL:
        return _ORIGINAL[flat]
    if match := re.fullmatch(r"mid_block_(resnets|attentions)_(\d)_(.+)", flat):
        inner = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block_{inner}_{_ORIGINAL_RESNET.get(match[3], match[3])}"
    match = re.fullmatch(r"(down|up)_blocks_(\d+)_([a-z]+)_(\d+)_(.+)", flat)
    if match is None:
        return flat
    block, kind, layer, rest = int(match[2]), match[3], int(match[4]), match[5]
    if kind == "downsamplers":
        return f"input_blocks_{3 * block + 3}_0_op"
    if kind == "upsamplers":  # behind a layer with attention: where there is none, SDXL has none
        return f"output_blocks_{3 * block + 2}_2_conv"
    number = 3 * block + layer + (match[1] == "down")
    side, inner = ("input" if match[1] == "down" else "output"), int(kind == "attentions")
    return f"{side}_blocks_{number}_{inner}_{_ORIGINAL_RESNET.get(rest, rest)}"


def _from_original(name: str) -> str:
    """kohya's names for SDXL, after the blocks of its original code, under diffusers' names."""
    if name in _DIFFUSERS:
        return _DIFFUSERS[name]
    if match := re.fullmatch(r"middle_block_(\d+)_(.+)", name):
        inner = {"0": "resnets_0", "1": "attentions_0", "2": "resnets_1"}.get(match[1], match[1])
        return f"mid_block_{inner}_{_from_original_resnet(match[2])}"
    match = re.fullmatch(r"(input|output)_blocks_(\d{1,3})_(\d)_(.+)", name)
    if match is None:
        return name
    side, number, inner, rest = match[1], int(match[2]), match[3], match[4]
    # Two layers a block and a resampler on the way down, three layers on the way up.
    block, layer = divmod(number - 1 if side == "input" else number, 3)
    blocks = "down_blocks" if side == "input" else "up_blocks"
    if side == "input" and rest == "op":
        return f"{blocks}_{block}_downsamplers_0_conv"
    if side == "output" and rest == "conv":
        return f"{blocks}_{block}_upsamplers_0_conv"
    kind = "resnets" if inner == "0" else "attentions"
    return f"{blocks}_{block}_{kind}_{layer}_{_from_original_resnet(rest)}"


def _from_original_resnet(name: str) -> str:
    return _DIFFUSERS_RESNET.get(name, name)
