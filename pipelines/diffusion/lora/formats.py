"""LoRA files of all common styles, read into one form: part, module, two halves, alpha.

W' = W + (alpha/rank)·up·down; a file without alpha means a scale of 1. Only the header and single
numbers are read here; :mod:`pipelines.diffusion.lora.weights` reads the rest.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.core.errors import BadRequest
from pipelines.core.sizes import format_bytes
from pipelines.diffusion.lora.families import family_of_name, family_of_width
from pipelines.diffusion.lora.header import Header, TensorInfo, read_header, scalar
from pipelines.diffusion.lora.names import PARTS, module_of, owner_of
from pipelines.diffusion.lora.use import MAX_NAME

LORA, EMBEDDING = "lora", "embedding"
_FLOAT = 4  # bytes of the numbers in which convolutions are put together
METADATA_KEY = "lora_adapter_metadata"  # where diffusers keeps ranks and alphas
_CONFIG_KEYS = ("adapter_config", "peft_config", "lora_config", "config")  # where others do

# Of LoRAs for other kinds of models, and of what is no plain LoRA.
_FOREIGN = (
    (re.compile(r"double_blocks|single_blocks|single_transformer_blocks"), "Flux"),
    (re.compile(r"joint_blocks|joint_attn|lora_te3_"), "Stable Diffusion 3"),
)
_OTHER_KINDS = (
    ("motion_modules", "AnimateDiff"),
    ("hada_w", "LoHa"),
    ("lokr_w", "LoKr"),
    ("boft_", "BOFT"),
    ("oft_", "OFT"),
    ("dora_scale", "DoRA"),
    ("lora_magnitude_vector", "DoRA"),
    (".on_input", "IA³"),
    ("ia3_l", "IA³"),
    ("vera_lambda", "VeRA"),
    (".a1.weight", "GLoRA"),
    ("lora_controlnet", "Control-LoRA"),
)
# Weights that a file brings whole instead of in two halves.
_WHOLE_ENDS = (".diff", ".diff_b", ".w_norm", ".b_norm", ".set_weight")
_EMBEDDINGS = {"emb_params": "text_encoder", "clip_l": "text_encoder", "clip_g": "text_encoder_2"}
# An SDXL pair under other names: diffusers' trainers, and whoever calls them by their encoders.
_PAIRS = (
    {"text_encoders_0": "text_encoder", "text_encoders_1": "text_encoder_2"},
    {"text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"},
)
_PAIR_WIDTHS = {768: "text_encoder", 1280: "text_encoder_2"}  # of SDXL's encoders, as a last resort
_T5_WIDTH = 4096
_LEAST_WIDTH = 16  # no text encoder is narrower
_NO_TRIGGERS = frozenset({"emb_params", "string_to_param", "string_to_param.*", "*", "embedding"})
_TENSOR_ENDS = (".weight", ".bias", ".alpha")  # of layers, not of words

_EXPRESSION = re.compile(r"[*+?|()\[\]{}\\^$]")
_PEFT_KINDS = {"LOHA": "LoHa", "LOKR": "LoKr", "ADALORA": "AdaLoRA", "IA3": "IA³"}

MAX_TRIGGERS, MAX_TRIGGER = 20, 100
MAX_KERNEL = 7  # of a convolution; models have 3
# Convolutions in three parts grow when they are put together: by 18 at most in what trainers write,
# which has other layers too.
MAX_UNPACKED, UNPACKED_FLOOR = 4, 100_000_000  # times the file's size, and bytes that any may take
MAX_VECTORS = 70  # more would not leave room for a prompt in CLIP's 75 tokens


@dataclass(frozen=True, slots=True)
class LoraModule:
    """What one module of a model gets.

    Attributes:
        part: ``unet``, ``text_encoder`` or ``text_encoder_2``.
        name: of the module inside its part, with dots.
        down, up, mid: names of the tensors in the file. down (r, in[, k, k]), up (out, r[, 1, 1]);
            mid (r, r, k, k), where a convolution is taken apart once more, or None.
        rank: r.
        alpha: as the file says, or None.
    """

    part: str
    name: str
    down: str
    up: str
    rank: int
    mid: str | None = None
    alpha: float | None = None

    @property
    def key(self) -> str:
        return f"{self.part}.{self.name}"


@dataclass(frozen=True)
class LoraFile:
    """What a file turned out to be.

    Attributes:
        kind: ``lora`` or ``embedding`` (the learned vectors of a new word).
        style: ``kohya``, ``diffusers`` or ``peft``.
        family: see :mod:`pipelines.diffusion.lora.families`; "" where nothing tells it.
        base: the model that it was trained on, as the file says, or None.
        rank: the most common one; 0 for an embedding.
        alpha: the most common one, or None.
        triggers: words that call it up.
        alias: what its trainer called it, by which A1111's prompts know it; "" where that is not
            said.
        modules: of a LoRA.
        vectors: of an embedding: part → name of its tensor (n, width).
        unread: tensors that have no meaning here.
    """

    kind: str
    style: str
    family: str
    base: str | None
    rank: int
    alpha: float | None
    triggers: tuple[str, ...]
    alias: str
    header: Header = field(repr=False)
    modules: tuple[LoraModule, ...] = ()
    vectors: dict[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many modules of each part it changes."""
        return dict(Counter(module.part for module in self.modules))

    @property
    def unread_modules(self) -> int:
        """How many modules the unread tensors are of."""
        return len({owner_of(key) for key in self.unread})


def open_lora(path: Path, file: str, config: Mapping[str, Any] | None = None) -> LoraFile:
    """Reads what ``path`` is; sentences call it ``file``.

    Args:
        config: what an ``adapter_config.json`` beside it says.

    Raises:
        BadRequest: it is no safetensors file, or no LoRA or embedding that Atelier can use.
    """
    header = read_header(path, file)
    if (embedding := _read_embedding(header, file)) is not None:
        return embedding
    entries, unread, styles = _entries(header)
    if not any(roles.keys() & {"down", "up"} for roles in entries.values()):
        raise _no_lora(header, file)
    for key in header.tensors:
        for mark, kind in _OTHER_KINDS:
            if mark in key:
                raise _other_kind(file, kind)
    facts = _adapter_facts(header, config or {})
    alphas = _adapter_alphas(header, facts, file)
    modules = tuple(
        _module(path, header, part, name, roles, alphas, file)
        for (part, name), roles in entries.items()
        if roles.keys() & {"down", "up"}
    )
    _check_unpacked(path, header, modules, file)
    ranks = Counter(module.rank for module in modules)
    alpha = Counter(module.alpha for module in modules).most_common(1)[0][0]
    return LoraFile(
        kind=LORA,
        style=styles.most_common(1)[0][0],
        family=_family(header, modules),
        base=_base(header.metadata) or _end_of(facts.get("base_model_name_or_path")),
        rank=ranks.most_common(1)[0][0],
        alpha=alpha,
        triggers=triggers_in(header.metadata),
        alias=_alias(header.metadata),
        header=header,
        modules=modules,
        unread=tuple(unread),
    )


def triggers_in(metadata: dict[str, str]) -> tuple[str, ...]:
    """The words that a file says it listens to: its trigger phrase, else its commonest tags."""
    phrase = metadata.get("modelspec.trigger_phrase") or metadata.get("ss_trigger_words") or ""
    words = [word.strip() for word in phrase.split(",")]
    if not any(words):
        words = _commonest_tags(metadata.get("ss_tag_frequency", ""))
    return clean_triggers(words)


def clean_triggers(words: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Words without control characters, each once, short and not too many."""
    plain = (" ".join("".join(c for c in word if c.isprintable()).split()) for word in words)
    kept = dict.fromkeys(word[:MAX_TRIGGER] for word in plain if word)
    return tuple(kept)[:MAX_TRIGGERS]


# --- from keys to modules -------------------------------------------------------------------------


def _entries(header: Header) -> tuple[dict[tuple[str, str], dict[str, str]], list[str], Counter]:
    """(part, module) → role → tensor; the tensors that mean nothing; how often each style is."""
    entries: dict[tuple[str, str], dict[str, str]] = {}
    unread, styles = [], Counter()
    for key in header.tensors:
        found = module_of(key)
        if found is None:
            unread.append(key)
            continue
        style, part, name, role = found
        roles = entries.setdefault((part, name), {})
        if role in roles:  # of a second adapter in the same file
            unread.append(key)
            continue
        roles[role] = key
        styles[style] += 1
    return entries, unread, styles


def _module(
    path: Path,
    header: Header,
    part: str,
    name: str,
    roles: dict[str, str],
    alphas: dict[str, float],
    file: str,
) -> LoraModule:
    if missing := {"down", "up"} - roles.keys():
        raise BadRequest(
            "{file} is damaged: of {module} it has only one of the two halves, lora_{missing} is "
            "missing.",
            file=file,
            module=f"{part}.{name}"[:150],
            missing=missing.pop(),
        )
    down, up = header.tensors[roles["down"]], header.tensors[roles["up"]]
    mid = header.tensors[roles["mid"]] if "mid" in roles else None
    for each in (down, up, mid):
        if each is not None and not each.is_float:
            raise BadRequest(
                "{file} cannot be used: its tensors of {module} are of the kind {dtype}, not "
                "floating-point numbers. Save it as fp16 or fp32.",
                file=file,
                module=f"{part}.{name}"[:150],
                dtype=each.dtype,
            )
    if not _halves_fit(down, up, mid):
        raise BadRequest(
            "{file} is damaged: the halves of {module} are {down} and {up}, which do not fit.",
            file=file,
            module=f"{part}.{name}"[:150],
            down="×".join(map(str, down.shape)),
            up="×".join(map(str, up.shape)),
        )
    kernel = (mid or down).shape[2:]
    if any(side > MAX_KERNEL for side in kernel):
        raise BadRequest(
            "{file} cannot be used: the kernel of {module} is {kernel}; at most {limit}×{limit} "
            "are taken.",
            file=file,
            module=f"{part}.{name}"[:150],
            kernel="×".join(map(str, kernel)),
            limit=MAX_KERNEL,
        )
    alpha = alphas.get(f"{part}.{name}")
    if "alpha" in roles:
        alpha = scalar(path, header.tensors[roles["alpha"]])
        if alpha is None:
            raise BadRequest("{file} is damaged: the alpha of {module} is no number.",
                             file=file, module=f"{part}.{name}"[:150])  # fmt: skip
    return LoraModule(part, name, roles["down"], roles["up"], down.shape[0], roles.get("mid"),
                      alpha)  # fmt: skip


def _halves_fit(down: TensorInfo, up: TensorInfo, mid: TensorInfo | None) -> bool:
    tensors = [down, up] + ([mid] if mid else [])
    if any(0 in each.shape for each in tensors):
        return False
    if len(down.shape) != len(up.shape) or len(down.shape) not in (2, 4):
        return False
    rank = down.shape[0]
    if up.shape[1] != rank or any(side != 1 for side in up.shape[2:]):
        return False
    if mid is None:
        return True
    return (
        len(mid.shape) == 4
        and mid.shape[:2] == (rank, rank)
        and all(side == 1 for side in down.shape[2:])
        and len(down.shape) == 4
    )


def _check_unpacked(path: Path, header: Header, modules: tuple[LoraModule, ...], file: str) -> None:
    """Refuses a small file that would fill memory and disk once it is read."""
    unpacked = 0
    for module in modules:
        if module.mid is not None:
            rank, into = header.tensors[module.down].shape[:2]
            unpacked += rank * into * math.prod(header.tensors[module.mid].shape[2:]) * _FLOAT
    size = path.stat().st_size
    limit = MAX_UNPACKED * size + UNPACKED_FLOOR
    if unpacked > limit:
        raise BadRequest(
            "{file} has {size}, but {unpacked} once its convolutions in three parts are put "
            "together; at most {limit} are taken. Export it without lora_mid.",
            file=file,
            size=format_bytes(size),
            unpacked=format_bytes(unpacked),
            limit=format_bytes(limit),
        )


def _adapter_facts(header: Header, config: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of ranks and alphas: by an ``adapter_config.json`` or in the metadata.

    diffusers begins its names with the part that they are of; PEFT has none of that.
    """
    facts: dict[str, Any] = {}
    for name in ("r", "lora_alpha"):
        with contextlib.suppress(ValueError):
            facts[name] = float(header.metadata.get(name, ""))
    for text in (header.metadata.get(key, "") for key in (*_CONFIG_KEYS, METADATA_KEY)):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(text)
            facts |= found if isinstance(found, dict) else {}
    return {**facts, **config}


def _adapter_alphas(header: Header, facts: Mapping[str, Any], file: str) -> dict[str, float]:
    """Part and module → alpha, from what :func:`_adapter_facts` found.

    Raises:
        BadRequest: it says that the LoRA is of a kind that cannot be used.
    """
    kind = str(facts.get("peft_type") or "LORA").upper()
    if kind != "LORA":
        raise _other_kind(file, _PEFT_KINDS.get(kind, kind[:40]))
    everywhere = {name: value for name, value in facts.items() if "." not in name}
    alphas: dict[str, float] = {}
    for part in PARTS:
        own = everywhere | {
            k.removeprefix(f"{part}."): v for k, v in facts.items() if k.startswith(f"{part}.")
        }
        if own.get("use_dora"):
            raise _other_kind(file, "DoRA")
        alpha, pattern = own.get("lora_alpha"), own.get("alpha_pattern")
        pattern = pattern if isinstance(pattern, dict) else {}
        # They are regular expressions to PEFT. Plain names are compared; those of strangers that
        # are more are not run.
        for each in pattern:
            if _EXPRESSION.search(each.removeprefix("^")):
                raise BadRequest(
                    "{file} gives alphas by the pattern {pattern}, which Atelier does not read. "
                    "Save it in the layout of kohya, where each module has its alpha.",
                    file=file,
                    pattern=repr(each[:60]),
                )
        for key, info in header.tensors.items():
            found = module_of(key)
            if found is None or found[1] != part or found[3] != "down":
                continue
            name, rank = found[2], info.shape[0] if info.shape else 0
            value = next((pattern[end] for end in _ends(name) if end in pattern), alpha)
            value = pattern.get(f"^{name}", value)
            if isinstance(value, str):
                with contextlib.suppress(ValueError):
                    value = float(value)
            if _is_number(value):
                # rank-stabilised: scaled by alpha/√r, which alpha·√r says in our terms
                alphas[f"{part}.{name}"] = value * rank**0.5 if own.get("use_rslora") else value
    return alphas


def _ends(name: str) -> Iterator[str]:
    """By what PEFT's patterns name a module: all of its name, or an end of it."""
    while name:
        yield name
        name = name.partition(".")[2]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


# --- what is known of it --------------------------------------------------------------------------


def _read_embedding(header: Header, file: str) -> LoraFile | None:
    """The file as an embedding: A1111's of SD 1.x and 2.x or of SDXL, or diffusers'.

    Raises:
        BadRequest: it is one, of more vectors than a prompt has room for, or of no floating-point
            numbers.
    """
    tensors = header.tensors
    vectors, style, triggers = _vectors(header)
    for key in vectors.values():
        info = tensors[key]
        if len(info.shape) not in (1, 2) or 0 in info.shape:
            return None
        if not info.is_float:
            raise BadRequest(
                "{file} is a learned word whose vectors are of the kind {dtype}, not "
                "floating-point numbers. Save it as fp16 or fp32.",
                file=file,
                dtype=info.dtype,
            )
        if len(info.shape) == 2 and info.shape[0] > MAX_VECTORS:
            raise BadRequest(
                "{file} is a learned word of {count} vectors; at most {limit} are taken, so that "
                "a prompt has room beside it.",
                file=file,
                count=info.shape[0],
                limit=MAX_VECTORS,
            )
    if not vectors:
        return None
    counts = {tensors[key].shape[0] for key in vectors.values() if len(tensors[key].shape) == 2}
    if len(counts) > 1:
        raise BadRequest(
            "{file} is damaged: as a learned word it has {one} vectors for one text encoder and "
            "{other} for the other.",
            file=file,
            one=min(counts),
            other=max(counts),
        )
    two = "text_encoder_2" in vectors
    width = tensors[next(iter(vectors.values()))].shape[-1]
    return LoraFile(
        kind=EMBEDDING,
        style=style,
        family="sdxl" if two else family_of_width(width),
        base=_base(header.metadata),
        rank=0,
        alpha=None,
        triggers=triggers,
        alias=_alias(header.metadata),
        header=header,
        vectors=vectors,
    )


def _vectors(header: Header) -> tuple[dict[str, str], str, tuple[str, ...]]:
    """Part → tensor of an embedding, by the tensors' names; its style and trigger words."""
    # Counts of steps and the like, which some trainers keep beside the vectors.
    tensors = {key: info for key, info in header.tensors.items() if math.prod(info.shape) != 1}
    for names in (_EMBEDDINGS, *_PAIRS):
        if tensors and tensors.keys() <= names.keys():
            style = "kohya" if names is _EMBEDDINGS else "diffusers"
            return {names[key]: key for key in tensors}, style, triggers_in(header.metadata)
    # A word may have dots in its name; a tensor of a layer has an end that words have not.
    if any(_is_of_a_layer(key) for key in tensors):
        return {}, "", ()
    if len(tensors) == 1 and _may_be_a_word(*next(iter(tensors.items()))):
        (key,) = tensors
        words = () if key in _NO_TRIGGERS else clean_triggers([key])
        return {"text_encoder": key}, "diffusers", words or triggers_in(header.metadata)
    parts = {_PAIR_WIDTHS.get(info.shape[-1] if info.shape else 0): key
             for key, info in tensors.items()}  # fmt: skip
    if len(tensors) == 2 and parts.keys() == set(_PAIR_WIDTHS.values()):
        return parts, "diffusers", triggers_in(header.metadata)
    return {}, "", ()


def _is_of_a_layer(key: str) -> bool:
    known = key.endswith(_TENSOR_ENDS) or module_of(key) is not None
    return known or any(mark in key for mark, _ in _OTHER_KINDS)


def _may_be_a_word(key: str, info: TensorInfo) -> bool:
    """Names like those of layers are words' only where the width is that of a text encoder."""
    width = info.shape[-1] if info.shape else 0
    if "." not in key and "lora" not in key:
        return width >= _LEAST_WIDTH
    return width in _PAIR_WIDTHS or not family_of_width(width).startswith("unet-")


def _family(header: Header, modules: tuple[LoraModule, ...]) -> str:
    """From the width of the texts that the U-Net attends to, else the metadata, else encoders."""
    widths = Counter(
        header.tensors[module.down].shape[1]
        for module in modules
        if module.part == "unet" and module.name.endswith((".attn2.to_k", ".attn2.to_v"))
    )
    if widths:
        return family_of_width(widths.most_common(1)[0][0])
    for name in ("ss_base_model_version", "modelspec.architecture"):
        if family := family_of_name(header.metadata.get(name, "")):
            return family
    if any(module.part == "text_encoder_2" for module in modules):
        return "sdxl"
    widths = Counter(
        header.tensors[module.down].shape[1]
        for module in modules
        if module.part == "text_encoder" and module.name.endswith("q_proj")
    )
    # A text encoder of 768 belongs to SD 1.x or is the first of SDXL's two.
    width = widths.most_common(1)[0][0] if widths else 768
    return "" if width == 768 else family_of_width(width)


def _base(metadata: dict[str, str]) -> str | None:
    """The model that it was trained on; of a path, which is its trainer's own business, the end."""
    return _end_of(metadata.get("ss_sd_model_name"))


def _end_of(path: Any) -> str | None:
    """The last piece of a path or a repository's name, printable; None where there is none."""
    name = re.split(r"[\\/]", path)[-1].strip() if isinstance(path, str) else ""
    return "".join(c for c in name if c.isprintable())[:200] or None


def _alias(metadata: dict[str, str]) -> str:
    """What kohya's trainer, and those that write like it, called the file."""
    name = "".join(c for c in metadata.get("ss_output_name", "") if c.isprintable() or c.isspace())
    return " ".join(name.split())[:MAX_NAME]


def _commonest_tags(text: str) -> list[str]:
    """The tags that every picture of a training folder has, from kohya's tag frequencies."""
    try:
        folders = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return []
    words: list[str] = []
    for tags in folders.values() if isinstance(folders, dict) else ():
        if isinstance(tags, dict):
            counts = {tag: n for tag, n in tags.items() if _is_number(n)}
            most = max(counts.values(), default=0)
            words += [tag.strip() for tag, n in counts.items() if n == most][:5]
    return words


def _other_kind(file: str, kind: str) -> BadRequest:
    return BadRequest(
        "{file} is of the kind {kind}. Atelier uses plain LoRAs, with or without convolutions.",
        file=file,
        kind=kind,
    )


def _no_lora(header: Header, file: str) -> BadRequest:
    keys = " ".join(list(header.tensors)[:2000])
    for mark, kind in _OTHER_KINDS:
        if mark in keys:
            return _other_kind(file, kind)
    if any(key.endswith(_WHOLE_ENDS) for key in header.tensors):
        return BadRequest(
            "{file} holds whole differences of weights, no LoRA. Atelier uses plain LoRAs, with or "
            "without convolutions. Extract one from the model that it came of.",
            file=file,
        )
    widths = {info.shape[-1] for info in header.tensors.values() if info.shape}
    if _T5_WIDTH in widths and header.tensors.keys() <= {"clip_l", "clip_g", "t5", "t5xxl"}:
        return BadRequest(
            "{file} is a learned word for a model that reads with T5, such as Flux. Atelier uses "
            "those of Stable Diffusion 1.x, 2.x and XL, and of its own starter.",
            file=file,
        )
    for pattern, family in _FOREIGN:
        if pattern.search(keys) and "lora" in keys:
            return BadRequest(
                "{file} is made for {family}. Atelier uses LoRAs of Stable Diffusion 1.x, 2.x and "
                "XL, and of its own starter.",
                file=file,
                family=family,
            )
    if "lora" in keys:
        return BadRequest(
            "{file} is a LoRA of a kind of model that Atelier does not know. It uses those of "
            "Stable Diffusion 1.x, 2.x and XL, and of its own starter.",
            file=file,
        )
    return BadRequest(
        "{file} is neither a LoRA nor an embedding; it holds {count} tensors of something else.",
        file=file,
        count=len(header.tensors),
    )
