"""Subjects: the photos of one thing and what they are called, kept below ``subjects/``.

A subject is a folder ``subjects/<id>/`` with ``subject.json`` and ``photos/<photo id>.png``. What
lies there was decoded and encoded again: RGB pixels and nothing else of the files that people sent.
``made.txt`` has the ids of what was made from them and may have left the library. Whose a subject
is, the studio knows; engines only open it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import secrets
import shutil
import time
import unicodedata
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.core.errors import BadRequest, NotFound, Unavailable
from pipelines.core.files import write_whole
from pipelines.core.messages import Message
from pipelines.core.pictures.png_files import DAMAGED, read_png
from pipelines.diffusion.lora.tags import without_tags
from pipelines.diffusion.prompts import Fragment, parse
from pipelines.dreambooth.data.captions import with_trigger
from pipelines.dreambooth.data.photos import (
    Facts,
    check_room,
    crop_box,
    facts_of,
    likeness,
    open_photo,
    png_bytes,
)

FOLDER, PHOTOS, FILE, MADE = "subjects", "photos", "subject.json", "made.txt"

TRIGGER = "[trigger]"
"""Stands in a caption for the subject: identifier and class word take its place."""
FIRST_CAPTION = f"a {TRIGGER}"

MAX_NAME, MAX_WORD, MAX_CAPTION = 80, 40, 2000  # characters; captions by machines are long
SMALL_SIDE = 256  # pixels: shorter sides are remarked upon
SAME_BITS = 6  # of 256: nearer than this is one picture, compressed or scaled
_NAMED = 5  # photos in a sentence
LIKE_BITS = 20  # of 256: fingerprints nearer than this are of the same scene
BLURRED = 30.0  # sharpness below which a photo is remarked upon; see photos.sharpness_of

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of a subject.

    Attributes:
        id: 32 hexadecimal digits.
        name: of the file that was sent, to be shown and never used as a path.
        caption: what is to be seen, with :data:`TRIGGER` for the subject.
        focus: the point that crops keep in their middle as far as they can, as fractions of
            width and height from the top left.
        chosen: whether somebody set the focus; otherwise it was found by :func:`focus_of`.
        width, height: pixels.
        bytes: of the PNG.
        facts: what is known of its pixels.
        folder: where the PNG lies.
    """

    id: str
    name: str
    caption: str
    focus: tuple[float, float]
    chosen: bool
    width: int
    height: int
    bytes: int
    facts: Facts
    folder: Path = field(compare=False, repr=False)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.id}.png"

    def open(self) -> Image.Image:
        """The whole photo, RGB.

        Raises:
            NotFound: its file has vanished.
            Unavailable: its file is damaged.
        """
        try:
            return read_png(self.path)
        except FileNotFoundError:
            raise NotFound(
                "The photo {name} is no longer here. Remove it, or add it again.", name=self.name
            ) from None
        except DAMAGED as error:
            raise Unavailable(
                "The file of the photo {name} is damaged or cannot be read. Remove it, or add it "
                "again.",
                name=self.name,
            ) from error

    def image(self, size: int | tuple[int, int]) -> Image.Image:
        """The photo cropped around its focus and scaled: RGB of ``size``.

        Args:
            size: the side of a square, or (width, height) of a bucket, in pixels. The crop is the
                largest of that shape.
        """
        wanted = (size, size) if isinstance(size, int) else tuple(size)
        box = self.crop(wanted[0] / wanted[1])
        return self.open().resize(wanted, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)

    def crop(self, aspect: float = 1.0) -> tuple[float, float, float, float]:
        """The largest box (left, top, right, bottom) of this aspect (width ÷ height) in pixels."""
        return crop_box((self.width, self.height), aspect, self.focus)

    def to_json(self) -> dict[str, Any]:
        kept = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("facts", "folder")
        }
        return {**kept, "focus": list(self.focus), "facts": asdict(self.facts)}

    @classmethod
    def from_json(cls, data: dict[str, Any], folder: Path) -> Photo:
        facts = Facts(**{**data["facts"], "focus": tuple(data["facts"]["focus"])})
        focus = tuple(data["focus"])
        return cls(**{**data, "focus": focus, "facts": facts, "folder": folder})


class SamePhoto(BadRequest):
    """A photo that the subject has already.

    Attributes:
        photo: the one that is here.
    """

    photo: Photo


@dataclass(slots=True)
class Subject:
    """A subject and its photos. Changes are written at once; one writer at a time.

    Attributes:
        home: the home folder.
        id: 32 hexadecimal digits.
        name: what its owner calls it: "Whiskers".
        identifier: the rare word that will stand for it: "sks".
        class_word: what it is one of: "cat".
        photos: in the order in which they were added.
        created: seconds since 1970.
    """

    home: Path
    id: str
    name: str
    identifier: str
    class_word: str
    photos: list[Photo]
    created: float

    # --- making and finding -----------------------------------------------------------------

    @classmethod
    def create(
        cls, home: Path, name: str, identifier: str = "", class_word: str = "", id: str = ""
    ) -> Subject:
        """A new subject without photos.

        Raises:
            BadRequest: a name or word is empty or too long.
        """
        subject = cls(
            home=home,
            id=id or secrets.token_hex(16),
            name=clean_name(name),
            identifier=clean_word(identifier),
            class_word=clean_word(class_word),
            photos=[],
            created=time.time(),
        )
        subject._photos_folder.mkdir(parents=True)
        subject._write()
        return subject

    @classmethod
    def open(cls, home: Path, id: str) -> Subject:
        """The subject as it is now.

        Raises:
            NotFound: there is none (any more).
        """
        if not _ID.fullmatch(id):
            raise _no_subject(id)
        folder = home / FOLDER / id
        try:
            data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise _no_subject(id) from None
        photos = [Photo.from_json(each, folder / PHOTOS) for each in data.pop("photos")]
        return cls(home=home, photos=photos, **data)

    @property
    def folder(self) -> Path:
        return self.home / FOLDER / self.id

    @property
    def _photos_folder(self) -> Path:
        return self.folder / PHOTOS

    @property
    def bytes(self) -> int:
        """Of all its photos."""
        return sum(photo.bytes for photo in self.photos)

    @property
    def trigger(self) -> str:
        """What stands for the subject in a prompt: identifier and class word."""
        return f"{self.identifier} {self.class_word}".strip()

    def photo(self, id: str) -> Photo:
        """Raises NotFound when there is none."""
        for photo in self.photos:
            if photo.id == id:
                return photo
        raise NotFound("There is no photo {id} of {name}.", id=id[:60], name=self.name)

    def caption_from(self, caption: str, folder_words: str | None = None) -> str:
        """A caption out of a data set, with :data:`TRIGGER` where it names this subject.

        Args:
            caption: as it stands beside the photo.
            folder_words: what the photo's folder calls the subject.
        """
        words = [self.trigger, folder_words or "", self.identifier, self.class_word]
        return with_trigger(_printable(caption), TRIGGER, words, MAX_CAPTION)

    # --- changing ---------------------------------------------------------------------------

    def add(self, name: str, data: bytes, caption: str = FIRST_CAPTION) -> Photo:
        """Takes a photo.

        Args:
            name: of the file, to be shown.
            data: a PNG, JPEG, WEBP or GIF.
            caption: of it.

        Raises:
            SamePhoto: it is here already.
            BadRequest: it is no such file, too large, too small, damaged, or one photo too many;
                one sentence says which.
        """
        check_room(len(self.photos))
        picture = open_photo(data)
        facts = facts_of(picture)
        for other in self.photos:
            if other.facts.digest == facts.digest:
                same = SamePhoto("The same photo is here already, as {name}.", name=other.name)
                same.photo = other
                raise same
        content = png_bytes(picture)
        photo = Photo(
            id=secrets.token_hex(16),
            name=shown_name(name),
            caption=clean_caption(caption),
            focus=facts.focus,
            chosen=False,
            width=picture.width,
            height=picture.height,
            bytes=len(content),
            facts=facts,
            folder=self._photos_folder,
        )
        write_whole(photo.path, content)
        self.photos.append(photo)
        try:
            self._write()
        except BaseException:
            self.photos.pop()
            photo.path.unlink(missing_ok=True)
            raise
        return photo

    def change(
        self,
        name: str | None = None,
        identifier: str | None = None,
        class_word: str | None = None,
    ) -> None:
        """Changes what is given.

        Raises:
            BadRequest: a name or word is empty or too long.
        """
        if name is not None:
            self.name = clean_name(name)
        if identifier is not None:
            self.identifier = clean_word(identifier)
        if class_word is not None:
            self.class_word = clean_word(class_word)
        self._write()

    def change_photo(
        self,
        id: str,
        caption: str | None = None,
        focus: tuple[float, float] | None = None,
        automatic: bool = False,
    ) -> Photo:
        """Changes a photo's caption or focus; ``automatic`` sets the focus that was found.

        Raises:
            NotFound: there is no such photo.
            BadRequest: the caption does not name the subject, or the focus is outside.
        """
        photo = self.photo(id)
        changed = photo
        if caption is not None:
            changed = replace(changed, caption=clean_caption(caption))
        if focus is not None:
            if not all(0 <= each <= 1 for each in focus):
                raise BadRequest(
                    "The focus is at {x}, {y}; both must be between 0 (left, top) and 1.",
                    x=focus[0],
                    y=focus[1],
                )
            changed = replace(changed, focus=(float(focus[0]), float(focus[1])), chosen=True)
        if automatic:
            changed = replace(changed, focus=photo.facts.focus, chosen=False)
        self.photos[self.photos.index(photo)] = changed
        self._write()
        return changed

    def remove(self, id: str) -> None:
        """Takes a photo away; raises NotFound when there is none."""
        photo = self.photo(id)
        self.photos.remove(photo)
        self._write()
        photo.path.unlink(missing_ok=True)

    def delete(self) -> None:
        """Takes the subject away with all its photos."""
        self.discard(self.home, self.id)

    @staticmethod
    def discard(home: Path, id: str) -> None:
        """Takes away what there is of a subject, be it damaged."""
        if _ID.fullmatch(id):
            shutil.rmtree(home / FOLDER / id, ignore_errors=True)

    # --- remarks ----------------------------------------------------------------------------

    @property
    def different(self) -> list[Photo]:
        """The photos without those that show the same picture as an earlier one, saved anew."""
        found: list[Photo] = []
        for photo in self.photos:
            if all(likeness(photo.facts, other.facts) > SAME_BITS for other in found):
                found.append(photo)
        return found

    def remarks_on_all(self) -> list[Message]:
        """What :meth:`remarks` says of the photos, a sentence a kind."""
        total, remarks = len(self.photos), []
        small = [each for each in self.photos if min(each.width, each.height) < SMALL_SIDE]
        blurred = [each for each in self.photos if each.facts.sharpness < BLURRED]
        like = [each for at, each in enumerate(self.photos)
                if any(likeness(each.facts, other.facts) <= LIKE_BITS
                       for other in self.photos[:at])]  # fmt: skip
        for template, photos in (
            ("{count} of {total} photos are small and will be enlarged: {names}.", small),
            ("{count} of {total} photos are blurred, so the subject will come out soft: {names}.",
             blurred),
            ("{count} of {total} photos are much like another one; different views teach more: "
             "{names}.", like),
        ):  # fmt: skip
            if photos:
                names = ", ".join(each.name for each in photos[:_NAMED])
                more = ", …" if len(photos) > _NAMED else ""
                remarks.append(
                    Message(template, count=len(photos), total=total, names=names + more)
                )
        return remarks

    def remarks(self, photo: Photo) -> list[Message]:
        """What may make a photo a bad teacher: small, blurred, much like another one."""
        remarks = []
        short = min(photo.width, photo.height)
        if short < SMALL_SIDE:
            remarks.append(
                Message(
                    "Small: {width} × {height} pixels. It will be enlarged.",
                    width=photo.width,
                    height=photo.height,
                )
            )
        if photo.facts.sharpness < BLURRED:
            remarks.append(Message("Blurred. The subject will come out soft."))
        before = itertools.takewhile(lambda other: other.id != photo.id, self.photos)
        distances = [(likeness(photo.facts, other.facts), other) for other in before]
        near = [other for distance, other in distances if distance <= LIKE_BITS]
        if near:
            remarks.append(
                Message("Much like {name}. Different views teach more.", name=near[0].name)
            )
        return remarks

    def _write(self) -> None:
        data = {
            "id": self.id,
            "name": self.name,
            "identifier": self.identifier,
            "class_word": self.class_word,
            "created": self.created,
            "photos": [photo.to_json() for photo in self.photos],
        }
        write_whole(self.folder / FILE, json.dumps(data, ensure_ascii=False, indent=1).encode())


# --- what was made --------------------------------------------------------------------------------


def note_made(home: Path, id: str, made: str) -> None:
    """Notes that ``made``, of the library, comes from the subject's photos.

    Whoever deletes the subject finds the pictures that were painted with it, be it long gone.
    """
    if not _ID.fullmatch(id) or not (home / FOLDER / id).is_dir():
        return
    # A full disk must not keep anybody from deleting, which is when this is called.
    with (
        contextlib.suppress(OSError),
        (home / FOLDER / id / MADE).open("a", encoding="ascii") as file,
    ):
        file.write(f"{made}\n")


def read_made(home: Path, id: str) -> set[str]:
    """All that :func:`note_made` has noted."""
    try:
        text = (home / FOLDER / id / MADE).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:  # any other reason must be told: pictures would be left behind
        return set()
    lines = text.splitlines()
    return {line for line in lines if _ID.fullmatch(line)}


# --- words ----------------------------------------------------------------------------------------


def clean_name(name: str) -> str:
    """A subject's name: any letters, emoji and signs; no line breaks or other controls.

    Raises:
        BadRequest: it is empty or too long.
    """
    name = _printable(name)
    if not name:
        raise BadRequest("The subject has no name. Give it one, such as “Whiskers”.")
    return _no_longer("Name", name, MAX_NAME)


def clean_word(word: str) -> str:
    """An identifier or class word as it stands in prompts: one line, single spaces.

    Raises:
        BadRequest: it is too long, or holds signs that mean something in a prompt.
    """
    word = _printable(word)
    if strange := sorted(set(word) & set('()[]<>{}:,|\\"')):
        raise BadRequest(
            "The word {word} holds {signs}, which mean something else in a prompt. "
            "Use letters and digits.",
            word=word[:MAX_WORD],
            signs=" ".join(strange),
        )
    if (meaning := meaning_in_prompts(word)) is not None:
        raise BadRequest(meaning.template, **meaning.values)
    return _no_longer("Word", word, MAX_WORD)


def meaning_in_prompts(word: str) -> Message | None:
    """What is said of a word that a prompt does not hand on to the text encoder as it is.

    The prompt's own reader is asked, so that all of its syntax counts: ``BREAK``, weights, tags.
    """
    text = without_tags(word)
    try:
        read = parse(text)
    except BadRequest:  # a weight beyond its limit
        read = []
    if not word or (text == word and read == [[Fragment(word)]]):
        return None
    return Message(
        "The word {word} means something else in a prompt, so what is learnt could not be called "
        "by it. Use another one.",
        word=word[:MAX_WORD],
    )


def clean_caption(caption: str) -> str:
    """A photo's caption.

    Raises:
        BadRequest: it is too long or does not say where the subject is.
    """
    caption = _printable(caption)
    if TRIGGER not in caption:
        raise BadRequest(
            "The caption “{caption}” does not hold {trigger}, which stands for your subject. "
            "Write it where the subject is named: {example}.",
            caption=caption[:60],
            trigger=TRIGGER,
            example=f"a {TRIGGER} on a table",
        )
    return _no_longer("Caption", caption, MAX_CAPTION)


def shown_name(name: str) -> str:
    """A file's name to be shown: without folders and controls, and not endless."""
    last = _printable(name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    return last[:MAX_NAME] or "?"


def _printable(text: str) -> str:
    """One line with single spaces. Joiners stay: they hold emoji together."""
    kept = (
        " " if char.isspace() else char
        for char in unicodedata.normalize("NFC", text)
        if char.isspace() or char == "\u200d" or unicodedata.category(char)[0] != "C"
    )
    return " ".join("".join(kept).split())


def _no_longer(field: str, text: str, limit: int) -> str:
    if len(text) > limit:
        raise BadRequest(
            "{field} has {value} characters; at most {limit} are taken.",
            field=field,
            value=len(text),
            limit=limit,
        )
    return text


def _no_subject(id: str) -> NotFound:
    return NotFound("There is no subject {id}. Its photos may have been deleted.", id=id[:60])
