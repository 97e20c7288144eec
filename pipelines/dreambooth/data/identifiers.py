"""Identifier words: rare tokens that mean nothing yet, for a subject to be called by.

DreamBooth ties a subject to a word (Ruiz et al. 2022, 3.2: rare-token identifiers). It is learnt
soonest where it is a single token of the base's tokenizer, and spoils nothing where the base has no
picture of it yet. Textual inversion adds a token instead, so its word must not be one already.
Reads the tokenizers' files alone, so that the page can ask while one types.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS, PRESETS
from pipelines.dreambooth.data.subjects import MAX_WORD, meaning_in_prompts
from pipelines.dreambooth.requests import Method
from pipelines.models.catalog import ModelEntry
from pipelines.toybox.words import known_words

# Of CLIP's rare tokens those that stand for hardly anything ("sks" has a rifle's look in Stable
# Diffusion 1.5, so it comes late), then words that the starter's tokenizer has from texts which are
# not about pictures.
PREFERRED = (
    *("ohwx", "nlwx", "nmwx", "wwx", "mwf", "smx", "tmw", "sks"),
    *("kref", "vmod", "lst", "pdb", "mro", "stmt", "xor", "kwarg"),
)
RARE = 0.8  # CLIP's tokens are in the order of their frequency: from here on they are rare
_MERGES = PRESETS / "single_file" / "clip_merges.txt"
_BARE = re.compile(r"[bcdfghjklmnpqrstvwxz]{3,4}</w>")
_VOWELS = set("aeiouy")
_SIGNS = re.compile(r"[\W_]+")  # between the words that a new one is made of
_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True, slots=True)
class Check:
    """What a base makes of a word.

    Attributes:
        word: as it was given.
        tokens: what its tokenizer cuts it into.
        good: whether it is one token that means nothing, as far as can be told; for textual
            inversion, whether it is new.
        message: the same in a sentence.
    """

    word: str
    tokens: tuple[str, ...]
    good: bool
    message: Message


def check(word: str, entry: ModelEntry, method: Method = "lora", class_word: str = "") -> Check:
    """How good ``word`` is as an identifier for the base model ``entry``.

    Args:
        method: that learns it.
        class_word: a part of the word that is proposed where this one is known already.

    Raises:
        BadRequest: it is empty.
    """
    word = word.strip()
    if not word:
        raise BadRequest("There is no identifier word. Take the one that is proposed.")
    if (meaning := meaning_in_prompts(word)) is not None:
        return Check(word, (), False, meaning)
    tokenizer = tokenizer_of(entry)
    tokens = tuple(tokenizer.encode(word, add_special_tokens=False).tokens)
    shown = " + ".join(token.removesuffix("</w>") for token in tokens)
    adds_a_token = method == "textual_inversion"
    if adds_a_token and len(tokens) == 1:
        message = Message(
            "{model} knows “{word}” already. Textual inversion makes a new word: “{new}”.",
            model=entry.title,
            word=word,
            new=new_word(word, entry, class_word),
        )
    elif word.lower() in _words_of(entry):
        message = Message(
            "{model} has a picture of “{word}” already. Take a word that means nothing, or the "
            "two become one.",
            model=entry.title,
            word=word,
        )
    elif adds_a_token:
        message = Message("“{word}” is new to {model}: good.", word=word, model=entry.title)
        return Check(word, tokens, True, message)
    elif len(tokens) != 1:
        message = Message(
            "“{word}” is cut into {count} tokens: {tokens}. A word of one token is learnt sooner.",
            word=word,
            count=len(tokens),
            tokens=shown,
        )
    elif not _means_nothing(word.lower(), tokens[0], tokenizer, entry):
        message = Message(
            "“{word}” is one token, but {model} may know it as a word. A rarer one is safer.",
            word=word,
            model=entry.title,
        )
    else:
        message = Message("“{word}” is one token and means nothing yet: good.", word=word)
        return Check(word, tokens, True, message)
    return Check(word, tokens, False, message)


def propose(
    entry: ModelEntry,
    taken: Collection[str] = (),
    count: int = 3,
    method: Method = "lora",
    class_word: str = "",
) -> list[str]:
    """Good identifiers for a base, the best first.

    Args:
        entry: the base model.
        taken: words that other subjects are called by already, in lower case.
        count: how many at most.
        method: that will learn it.
        class_word: a part of the new words that textual inversion makes.
    """
    found: list[str] = []
    for word in _candidates(tokenizer_of(entry)):
        if method == "textual_inversion":
            word = new_word(word, entry, class_word)
        if word not in taken and word not in found and check(word, entry, method).good:
            found.append(word)
            if len(found) == count:
                break
    return found


def is_token(word: str, entry: ModelEntry) -> bool:
    """Whether the base reads ``word`` as a single token, so that it cannot be made a new one."""
    return len(tokenizer_of(entry).encode(word, add_special_tokens=False).tokens) == 1


def new_word(word: str, entry: ModelEntry, class_word: str = "") -> str:
    """``word``, or where it is a token of the base already, one made of it that is none.

    No tokenizer has a token that goes on after a hyphen.
    """
    if not is_token(word, entry):
        return word
    what = class_word.strip() or "thing"
    parts = ("my", word) if word.lower() == what.lower() else (word, what)
    return _SIGNS.sub("-", " ".join(parts))[:MAX_WORD].strip("-")


def no_new_word(word: str, entry: ModelEntry, class_word: str) -> BadRequest:
    """What is said where textual inversion is asked for with a word that is a token already."""
    return BadRequest(
        "{model} knows the word {word} already. Textual inversion makes a new one: choose another "
        "identifier, such as {example}.",
        model=entry.title,
        word=word,
        example=new_word(word, entry, class_word),
    )


def tokenizer_of(entry: ModelEntry) -> Tokenizer:
    """The base's own tokenizer where its files lie here, else CLIP's, which the others share."""
    source = entry.source
    folder = ASSETS / source.asset if source.asset else source.folder
    file = folder / "tokenizer" / "tokenizer.json" if folder is not None else None
    if file is not None and file.is_file():
        return _from_file(file)
    return _clip()


def _candidates(tokenizer: Tokenizer) -> Iterator[str]:
    yield from PREFERRED
    rarest_first = sorted(tokenizer.get_vocab().items(), key=lambda item: -item[1])
    yield from (token.removesuffix("</w>") for token, _ in rarest_first if _BARE.fullmatch(token))


def _means_nothing(word: str, token: str, tokenizer: Tokenizer, entry: ModelEntry) -> bool:
    if entry.words is not None or word in PREFERRED:  # all that it knows is known
        return True
    number = tokenizer.token_to_id(token)
    return number >= RARE * tokenizer.get_vocab_size() and not _VOWELS & set(word)


def _words_of(entry: ModelEntry) -> frozenset[str]:
    return known_words() if entry.words is not None else frozenset()


@lru_cache(maxsize=4)
def _from_file(file: Path) -> Tokenizer:
    return Tokenizer.from_file(str(file))


@lru_cache(maxsize=1)
def _clip() -> Tokenizer:
    """CLIP's tokenizer from its list of merges, as ``transformers.CLIPTokenizer`` has it."""
    lines = _MERGES.read_text(encoding="utf-8").splitlines()
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer
