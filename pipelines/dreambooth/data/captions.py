"""What lies beside the photos of a data set: captions, and files that are no photos of its subject.

Captions are found as trainers and data sets have them: ``x.txt``, ``x.caption`` or ``x.jpg.txt``
beside ``x.jpg``; ``x.json`` with a caption or tags; lines of ``metadata.jsonl`` (``{"file_name":
"x.jpg", "text": "…"}``, Hugging Face's ImageFolder) or rows of ``metadata.csv``; kohya's
``meta_cap.json``; and where a photo has none, the name of kohya's folder: ``10_ohwx cat/`` says
"ohwx cat".

Systems, cameras and network drives keep thumbnails, lists and notes of their own in every folder;
trainers keep masks and class pictures beside the photos. None of these shows the subject.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from pipelines.core.errors import BadRequest
from pipelines.core.files import decode_text
from pipelines.core.sizes import format_bytes

Kind = Literal["photo", "caption", "system", "training"]

MAX_CAPTION_FILE = 100_000  # bytes of one photo's caption
MAX_LIST = 5_000_000  # bytes of a list of captions
MAX_LINES = 20_000  # of a list that are read
MAX_CHARACTERS = 20_000_000  # of all captions of a data set

_ENDINGS = (".txt", ".caption", ".captions", ".cap", ".tags")
_LISTS = (".jsonl", ".csv", ".json")
_SYSTEM_FOLDERS = {"@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "#snapshot",
                   "@tmp", "lost+found", "system volume information", "thumbnails"}  # fmt: skip
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini",
                 "zbthumbnail.info"}  # fmt: skip
_SYSTEM_ENDINGS = (".aae", ".xmp", ".thm", "@synoeastream", "@synoresource")
_SYSTEM_NAMES = ("synophoto_thumb_", "synoindex_media_info", "synofile_thumb_")
_TRAINING_FOLDERS = {"reg", "regs", "regularization", "regularisation", "class", "class_images",
                     "class_pictures", "mask", "masks"}  # fmt: skip
_TRAINING_ENDINGS = ("-masklabel", "-condlabel", "_mask")
_REPEATS = re.compile(r"\d{1,4}_(.+)")  # kohya's folders: "10_ohwx cat"
_FILE_NAMES = ("file_name", "file", "image", "filename", "path", "image_path", "image_file")
_TEXTS = ("text", "caption", "prompt", "additional_feature", "tags", "tag_string", "description")


def kind_of(path: str) -> Kind:
    """What a file of a data set is, by its path in it.

    Returns:
        ``system`` for what systems add, ``training`` for masks and class pictures, ``caption`` for
        files of captions; everything else may be a photo.

    >>> [kind_of(path) for path in ("a/x.jpg", "a/x.txt", "a/@eaDir/x.jpg/SYNO.jpg", "reg/1.png")]
    ['photo', 'caption', 'system', 'training']
    """
    *folders, name = _parts(path)
    lower = name.lower()
    if any(folder.lower() in _SYSTEM_FOLDERS or folder.startswith(".") for folder in folders):
        return "system"
    if not name or lower in _SYSTEM_FILES or lower.startswith((".", *_SYSTEM_NAMES)):
        return "system"
    if lower.endswith(_SYSTEM_ENDINGS):
        return "system"
    if any(folder.lower() in _TRAINING_FOLDERS for folder in folders):
        return "training"
    if lower.endswith((*_ENDINGS, *_LISTS)):
        return "caption"
    if PurePosixPath(lower).stem.endswith(_TRAINING_ENDINGS) or lower.endswith(".npz"):
        return "training"
    return "photo"


@dataclass(slots=True)
class Captions:
    """The captions of a data set, by the photos that they are of.

    Attributes:
        photos: paths of the data set's photos.
        seconds: files that hold another caption of a photo which has one, with the file that was
            taken.
    """

    photos: Iterable[str]
    seconds: dict[str, str] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)
    _loose: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _named: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _folders: set[str] = field(default_factory=set)
    _sources: dict[str, str] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _characters: int = 0

    def __post_init__(self) -> None:
        self._folders = {_folder(photo) for photo in self.photos}
        for photo in self.photos:
            key = _key(photo)
            for each in {key, _stem(key)}:
                self._named[each.rpartition("/")[2]].add(key)

    def add(self, path: str, data: bytes) -> None:
        """Reads a file of captions.

        Raises:
            BadRequest: it is too large, no text in UTF-8, or a list that cannot be read.
        """
        name = _parts(path)[-1].lower()
        limit = MAX_LIST if is_list(path) else MAX_CAPTION_FILE
        if len(data) > limit:
            raise BadRequest(
                "The file has {size}; captions of at most {limit} are read.",
                size=format_bytes(len(data), above=limit),
                limit=format_bytes(limit),
            )
        self._characters += len(data)
        if self._characters > MAX_CHARACTERS:
            raise BadRequest(
                "All captions together have more than {limit}. Send the photos in several parts.",
                limit=format_bytes(MAX_CHARACTERS),
            )
        text = _decode(data)
        if not is_list(path):
            self._put(path[: path.rindex(".")], text, path)
            return
        folder = _folder(path)
        for photo, caption in _list(name, text):
            if photo is None:  # the file is of one photo
                self._put(path[: path.rindex(".")], caption, path)
            elif name.endswith(".json") and (nearest := self._nearest(photo)):
                self._put(nearest, caption, path)
            else:
                self._put(f"{folder}/{photo}" if folder else photo, caption, path)

    def _nearest(self, path: str) -> str | None:
        """The photo whose path ends most like ``path``, which may begin on another machine."""
        wanted = _key(path).split("/")
        shared = {
            photo: _shared_end(_stem(photo).split("/"), [*wanted[:-1], _stem(wanted[-1])])
            for photo in self._named.get(wanted[-1], ())
        }
        most = max(shared.values(), default=0)
        nearest = [photo for photo, count in shared.items() if count == most]
        return nearest[0] if len(nearest) == 1 else None

    def _put(self, path: str, caption: str, source: str) -> None:
        caption = " ".join(caption.split())
        key = _key(path)
        if caption and key in self._texts:
            if caption != self._texts[key]:
                self.seconds.setdefault(source, self._sources[key])
        elif caption:
            self._texts[key], self._sources[key] = caption, source
            if _folder(path) not in self._folders:  # such as captions/x.txt
                self._loose[key.rpartition("/")[2]].append(key)

    def of(self, photo: str) -> str | None:
        """The caption of a photo, or None."""
        for key in (_key(photo), _stem(_key(photo))):
            name = key.rpartition("/")[2]
            candidates = [key] if key in self._texts else self._loose.get(name, [])
            # A caption that lies elsewhere says nothing where photos of several folders have its
            # name.
            folders = {each.rpartition("/")[0] for each in self._named[name]}
            if len(candidates) == 1 and (key in self._texts or len(folders) <= 1):
                self._used.add(candidates[0])
                return self._texts[candidates[0]]
        return words_of_folder(photo)

    def list_unused(self) -> list[tuple[str, str, str]]:
        """The captions that no photo was found for.

        Returns:
            Of each the file that it stands in; the photo's name in lower case, be it without an
            ending; and the text.
        """
        return [
            (self._sources[key], key.rpartition("/")[2], text)
            for key, text in self._texts.items()
            if key not in self._used
        ]


def is_list(path: str) -> bool:
    """Whether a file may list the captions of many photos."""
    return _parts(path)[-1].lower().endswith(_LISTS)


def words_of_folder(photo: str) -> str | None:
    """What the folder of a photo says of it, where it is named as kohya's trainer asks for.

    >>> words_of_folder("img/10_ohwx cat/1.jpg")
    'ohwx cat'
    """
    *folders, _ = _parts(photo)
    match = _REPEATS.fullmatch(folders[-1]) if folders else None
    return match[1].strip() if match else None


def with_trigger(caption: str, trigger: str, words: Sequence[str], limit: int) -> str:
    """The caption with ``trigger`` where it names the subject.

    Args:
        caption: as somebody has written it.
        trigger: stands for the subject.
        words: that stand for it in the caption, the first ones preferred: "ohwx cat", "ohwx",
            "cat". Where there is none of them, the trigger is put first.
        limit: characters at most; what is longer is cut behind its last whole part.
    """
    if trigger not in caption:
        for word in filter(None, words):
            found = _whole_word(word).subn(lambda _: trigger, caption)
            if found[1]:
                caption = found[0]
                break
        else:
            caption = f"{trigger}, {caption}"
    if len(caption) <= limit:
        return caption
    cut = caption[: limit + 1]
    end = max(cut.rfind(sign) for sign in (",", ".", " "))
    short = cut[: end if end > limit // 2 else limit].rstrip(" ,")
    return short if trigger in short else f"{trigger}, {short}"[:limit]


def _whole_word(word: str) -> re.Pattern[str]:
    """Finds a word between other signs; in writing without blanks, wherever it stands."""
    escaped = re.escape(word)
    return re.compile(rf"(?<!\w){escaped}(?!\w)" if word.isascii() else escaped, re.IGNORECASE)


def _decode(data: bytes) -> str:
    if (text := decode_text(data)) is None:
        raise BadRequest(
            "The caption is not text in UTF-8. Save it with this encoding and send it again."
        )
    return text


def _list(name: str, text: str) -> list[tuple[str | None, str]]:
    """Photo and caption of each entry of a list; no photo where the whole file is of one."""
    if name.endswith(".csv"):
        rows = _rows(name, text)
    elif name.endswith(".json") or text.lstrip()[:1] == "[":
        document = _json(text, name, 1)
        is_coco = isinstance(document, dict) and isinstance(document.get("annotations"), list)
        if isinstance(document, dict) and not is_coco:
            if own := _first_words(document):
                own_path = next(
                    filter(None, (_path(document.get(key)) for key in _FILE_NAMES)), None
                )
                return [(own_path, own)]
            if found := _from_kohya(document):
                return found
        rows = document if isinstance(document, list) else _from_coco(document)
    else:
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        rows = [_json(line, name, number) for number, line in lines[:MAX_LINES]]
    found = []
    for row in rows[:MAX_LINES]:
        if not isinstance(row, dict):
            continue
        row = {str(key).strip().lower(): value for key, value in row.items()}
        photo = next((path for key in _FILE_NAMES if (path := _path(row.get(key)))), None)
        caption = _first_words(row)
        if photo and caption:
            found.append((photo, caption))
    if not found and (rows or name.endswith(".json")):
        raise BadRequest(
            "No line of {name} names a photo (file_name) and its caption (text).", name=name
        )
    return found


def _first_words(facts: dict[str, object]) -> str:
    """The caption that a photo's facts hold."""
    return next((words for key in _TEXTS if (words := _words(facts.get(key))).strip()), "")


def _path(value: object) -> str | None:
    """A photo's path, be it the only text or, as the library datasets writes it, one of a few."""
    value = value.get("path") if isinstance(value, dict) else value
    return value if isinstance(value, str) and value else None


def _rows(name: str, text: str) -> list[object]:
    """The rows of a CSV with a header, by whichever sign its columns are parted."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))[:MAX_LINES]
    except csv.Error:
        raise BadRequest(
            "{name} cannot be read as a table: a quotation mark is open, or a caption is longer "
            "than {limit} characters. Mend it and send it again.",
            name=name,
            limit=csv.field_size_limit(),
        ) from None


def _words(value: object) -> str:
    """A caption, or tags one by one."""
    if isinstance(value, list):
        return ", ".join(each for each in value if isinstance(each, str) and each.strip())
    return value if isinstance(value, str) else ""


def _from_kohya(document: dict[str, object]) -> list[tuple[str, str]]:
    """``{"folder/x": {"caption": "…", "tags": "…"}}``, or ``{"x.jpg": "…"}``."""
    found = []
    for photo, facts in document.items():
        texts = [facts.get(key) for key in _TEXTS] if isinstance(facts, dict) else [facts]
        caption = ", ".join(words for text in texts if (words := _words(text)).strip())
        if caption:
            found.append((photo, caption))
    return found[:MAX_LINES]


def _from_coco(document: object) -> list[object]:
    """COCO's captions: ``images`` with ids and names, ``annotations`` with the ids and texts."""
    document = document if isinstance(document, dict) else {}
    images, annotations = (
        [each for each in part if isinstance(each, dict)] if isinstance(part, list) else []
        for part in (document.get("images"), document.get("annotations"))
    )
    names = {str(each.get("id")): each.get("file_name") for each in images}
    return [
        {"file_name": names.get(str(each.get("image_id"))), "text": each.get("caption")}
        for each in annotations
    ]


def _json(text: str, name: str, line: int) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("Line {line} of {name} is no JSON.", line=line, name=name) from None


def _parts(path: str) -> list[str]:
    parts = path.replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..")] or [""]


def _folder(path: str) -> str:
    return "/".join(_parts(path)[:-1]).lower()


def _key(path: str) -> str:
    """The same for names that are written alike: café with one accent or two signs."""
    return unicodedata.normalize("NFC", "/".join(_parts(path))).lower().strip()


def _stem(key: str) -> str:
    before, dot, after = key.rpartition(".")
    return before.rstrip() if dot and "/" not in after else key


def _shared_end(one: list[str], other: list[str]) -> int:
    """How many parts two paths share at their ends."""
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count
