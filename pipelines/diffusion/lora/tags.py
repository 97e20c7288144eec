"""The tags of a prompt: which LoRAs they name, and how strongly.

A prompt may name LoRAs itself, as A1111 reads it: ``<lora:name:0.8>``, ``<lora:name>`` at weight 1,
``<lora:name:0.8:0.5>`` with one weight for the text encoder and one for the U-Net, also written
``te=0.8:unet=0.5``; ``lyco`` is another word for ``lora``. All tags, ``<hypernet:…>`` and the like
too, stay in the prompt as it is kept, and are cut out of what the text encoder reads.

No torch here: the page reads this before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from pipelines.core.errors import BadRequest, validate
from pipelines.core.matching import name_key
from pipelines.core.messages import Message
from pipelines.diffusion.lora.use import MAX_LORAS, MAX_WEIGHT, LoraUse
from pipelines.diffusion.wording.grammar import is_dynamic

if TYPE_CHECKING:
    from pipelines.diffusion.requests import TextToImageRequest

RequestT = TypeVar("RequestT", bound="TextToImageRequest")

_TAG = re.compile(r"<([A-Za-z]\w*+):([^<>]*+)>")  # A1111's extra networks
# ComfyUI's and SwarmUI's ways to call a learned word.
_CALLED = re.compile(r"(?<!\w)embedding:\s*+([^\s,:;()<>\[\]]++)|<embed(?:ding)?:\s*+([^<>:]++)>")
_COMMENT = re.compile(r"(?m)^#(?=[ \t])[^\n]*+")  # A1111 leaves such lines out
# Midjourney's parameters, and compel's weights: word++, (some words)1.2.
_PARAMETER = re.compile(r"(?<!\S)--[a-z]++(?:\s++[\d.:]++)?+(?!\S)")
_COMPEL = re.compile(r"(?<!\w)\w{2,}+\+{2,}+(?=[\s,)]|\Z)|\)(?:\+++|\d++\.\d++)(?=[\s,)]|\Z)")
_AND = re.compile(r"\bAND\b")
_LORA_TAGS = frozenset({"lora", "lyco"})
_POSITIONS = ("te", "unet", "dyn")  # of a tag's values that have no name, behind the LoRA's own
_SHOWN = 80  # characters of a tag in sentences


def uses_of(request: TextToImageRequest) -> tuple[LoraUse, ...]:
    """The LoRAs of a request: the listed ones, then those that only its prompt names.

    Where both name one, the prompt's weight counts; of two tags, the last.

    Raises:
        BadRequest: a tag cannot be read, stands in the negative prompt, or there are too many.
    """
    if tag := next(_lora_tags(request.negative_prompt), None):
        raise BadRequest(
            "{tag} stands in the negative prompt, where LoRAs have no effect. Put it into the "
            "prompt; a weight below 0 turns it round.",
            tag=tag[0][:_SHOWN],
        )
    uses = {name_key(use.name): use for use in request.loras}
    for use in tags_in(request.prompt):
        known = uses.get(name_key(use.name))
        uses[name_key(use.name)] = use if known is None else use.model_copy(update={"id": known.id})
    # One LoRA may have been named in two ways: by its file, and as its trainer called it.
    once = {use.id or key: use for key, use in uses.items()}
    if len(once) > MAX_LORAS:
        raise BadRequest(
            "{count} LoRAs are asked for; at most {limit} work together.",
            count=len(once),
            limit=MAX_LORAS,
        )
    return tuple(once.values())


def uses_in_template(request: TextToImageRequest) -> tuple[LoraUse, ...]:
    """The LoRAs that pictures of a request with choices in its prompt may name.

    Those that the prompt alone names have weight 0: a picture whose words have the tag gives them
    its own. Tags that are put together by choices are not known before these are made.

    Raises:
        BadRequest: as :func:`uses_of` does.
    """
    tags = [tag[0] for tag in _lora_tags(request.prompt) if not is_dynamic(tag[0])]
    named = {name_key(use.name): use for use in request.loras}
    for use in uses_of(request.model_copy(update={"prompt": " ".join(tags)})):
        off = use.model_copy(update={"weight": 0.0, "text_weight": None})
        named.setdefault(name_key(use.name), off)
    return tuple(named.values())


def with_ids(request: RequestT, known: Sequence[LoraUse]) -> RequestT:
    """The request with all LoRAs that it names listed, with the ids that ``known`` has of them.

    Raises:
        BadRequest: as :func:`uses_of` does.
    """
    if not known:
        return request
    ids = {name_key(use.name): use.id for use in known}
    uses = uses_in_template(request) if is_dynamic(request.prompt) else uses_of(request)
    return request.model_copy(
        update={
            "loras": tuple(
                use.model_copy(update={"id": ids.get(name_key(use.name), use.id)}) for use in uses
            )
        }
    )


def tags_in(prompt: str) -> list[LoraUse]:
    """What the tags of a prompt say of LoRAs, in their order.

    Raises:
        BadRequest: a tag has no name, no number for a weight, or one beyond ±4.

    >>> [(use.name, use.weight) for use in tags_in("a mug <lora:clay:0.8> <lora:soft>")]
    [('clay', 0.8), ('soft', 1.0)]
    >>> [(use.weight, use.text_weight) for use in tags_in("<lora:clay:0.8:0.5>")]
    [(0.5, 0.8)]
    """
    return [_use_of(tag) for tag in _lora_tags(prompt)]


def list_left_out(prompt: str, learned: Iterable[str] = ()) -> list[Message]:
    """What of a prompt's tags has no effect, in sentences.

    Args:
        learned: the learned words that the picture uses.
    """
    notes = []
    prompt = _drop_calls(prompt, learned)
    for tag in _TAG.finditer(prompt):
        shown = tag[0][:_SHOWN]
        if tag[1] == "hypernet":
            notes.append(Message("{tag} was left out: Atelier has no hypernetworks.", tag=shown))
        elif tag[1] not in _LORA_TAGS:
            notes.append(Message("{tag} was left out: Atelier has no such tag.", tag=shown))
        elif others := _others(tag):
            notes.append(
                Message(
                    "Of {tag} {settings} was left out: a LoRA has a weight for the text encoder "
                    "and one for the U-Net.",
                    tag=shown,
                    settings=", ".join(others)[:_SHOWN],
                )
            )
    return notes + _plain_syntax(without_tags(prompt))


def _plain_syntax(prompt: str) -> list[Message]:
    """What has a meaning in A1111 or its extensions and is read as words here."""
    notes = []
    if called := _CALLED.search(prompt):
        notes.append(
            Message(
                "{syntax} is read as plain words: choose the learned word {name} among the LoRAs, "
                "and write its name alone.",
                syntax=called[0][:_SHOWN],
                name=called[1][:_SHOWN],
            )
        )
    if comment := _COMMENT.search(prompt):
        notes.append(
            Message(
                "{line} is read as plain words: Atelier leaves no comments out.",
                line=comment[0][:_SHOWN],
            )
        )
    if parameter := _PARAMETER.search(prompt):
        notes.append(
            Message(
                "{syntax} is read as plain words: size, seed and all else are set beside the "
                "prompt.",
                syntax=parameter[0][:_SHOWN],
            )
        )
    if weight := _COMPEL.search(prompt):
        notes.append(
            Message(
                "{syntax} is read as plain words: Atelier reads weights as (words:1.2).",
                syntax=weight[0][:_SHOWN],
            )
        )
    if _AND.search(prompt):
        notes.append(
            Message(
                "AND is read as a plain word: Atelier does not combine prompts. Weights and BREAK "
                "are read."
            )
        )
    return notes


def tags_of(prompts: Iterable[str]) -> list[str]:
    """All tags of some prompts as they are written, each once."""
    return list(dict.fromkeys(tag[0] for prompt in prompts for tag in _TAG.finditer(prompt)))


def without_tags(prompt: str) -> str:
    """The prompt as the text encoder reads it.

    >>> without_tags("a mug<lora:clay:0.8> on a table<hypernet:soft:1>")
    'a mug on a table'
    """
    return _TAG.sub("", prompt)


def with_tags(prompt: str, uses: Iterable[Mapping[str, object]]) -> str:
    """The prompt with a tag for each of ``uses`` (name, weights) that it does not name itself."""
    named = {name_key(_name_of(tag)) for tag in _lora_tags(prompt)}
    further = [_tag_of(use) for use in uses if name_key(str(use["name"])) not in named]
    return " ".join([prompt, *further] if prompt else further)


def _lora_tags(prompt: str) -> Iterator[re.Match[str]]:
    return (tag for tag in _TAG.finditer(prompt) if tag[1] in _LORA_TAGS)


def _name_of(tag: re.Match[str]) -> str:
    return tag[2].partition(":")[0].strip()


def _values(tag: re.Match[str]) -> dict[str, str]:
    """A tag's values by name: those without one are the text encoder's weight and the U-Net's.

    >>> _values(_TAG.match("<lora:a:1:unet=0.5:lbw=MIDD>"))
    {'te': '1', 'unet': '0.5', 'lbw': 'MIDD'}
    """
    _, *items = tag[2].split(":")
    positions, values = iter((*_POSITIONS, *map(str, range(len(items))))), {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            name, value = next(positions), item
        if value.strip():
            values[name.strip()] = value.strip()
    return values


def _others(tag: re.Match[str]) -> list[str]:
    """The values of a LoRA's tag that have no effect, as ``name=value``, or as they are written."""
    values = _values(tag)
    return [
        value if name.isdigit() else f"{name}={value}"
        for name, value in values.items()
        if name not in ("te", "unet")
    ]


def _use_of(tag: re.Match[str]) -> LoraUse:
    name, values = _name_of(tag), _values(tag)
    try:
        text = float(values.get("te", 1.0))
        unet = float(values.get("unet", text))
    except ValueError:
        name = ""
    if not name:
        raise BadRequest(
            "{tag} cannot be read. Write <lora:name:0.8>, with a name of your library and a "
            "number between −{limit} and {limit}.",
            tag=tag[0][:_SHOWN],
            limit=MAX_WEIGHT,
        )
    weights = {"weight": unet} if text == unet else {"weight": unet, "text_weight": text}
    return validate(LoraUse, {"name": name, **weights})


def _tag_of(use: Mapping[str, object]) -> str:
    weight, text = use.get("weight", 1.0), use.get("text_weight")
    weights = f"{weight:g}" if text is None else f"{text:g}:{weight:g}"
    return f"<lora:{use['name']}:{weights}>"


def replace_words(prompt: str, learned: Mapping[str, str]) -> str:
    """The prompt without tags, learned words replaced by what the tokenizer calls them."""
    text = without_tags(_drop_calls(prompt, learned))
    if not learned:
        return text
    tokens = {name_key(word): token for word, token in learned.items()}
    spellings = {form for word in learned for form in _spellings(word)}
    words = "|".join(re.escape(word) for word in sorted(spellings, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
    return pattern.sub(lambda match: tokens.get(name_key(match[0]), match[0]), text)


def _drop_calls(prompt: str, learned: Iterable[str]) -> str:
    """The prompt with learned words alone where it has ``embedding:word`` or ``<embed:word>``."""
    words = {name_key(word) for word in learned}
    if not words:
        return prompt

    def alone(call: re.Match[str]) -> str:
        name = call[1] or call[2]
        return name if name_key(name) in words else call[0]

    return _CALLED.sub(alone, prompt)


def _spellings(word: str) -> tuple[str, str]:
    """A learned word with its letters composed and decomposed: a prompt may have either."""
    return unicodedata.normalize("NFC", word), unicodedata.normalize("NFD", word)
