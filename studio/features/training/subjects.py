"""Subjects that people teach a model: everybody's own photos, asked for by id and never by path.

A row says whose a subject is; another's is not found, as if it were not there. The photos lie in
``subjects/<id>/`` (see :mod:`pipelines.dreambooth.data.subjects`), and go together with all
that was made from them.
"""

from __future__ import annotations

import io
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipelines.core.engine import Use
from pipelines.core.errors import BadRequest, Busy, NotFound, UserError
from pipelines.core.messages import Message
from pipelines.dreambooth import folder as trainings
from pipelines.dreambooth.data import subjects as kept
from pipelines.dreambooth.data.captions import Captions, Kind, is_list, kind_of, words_of_folder
from pipelines.dreambooth.data.examples import take_example
from pipelines.dreambooth.data.photos import LIMITS, files_in_zip, is_zip, names_in_zip
from pipelines.dreambooth.data.subjects import Photo, Subject
from studio.core.home import clear_folders, ownerless_folders, room_for
from studio.core.jobs.job_uses import is_at_work
from studio.core.named_locks import Locks
from studio.core.quota import Keeper, Quota

if TYPE_CHECKING:
    from pipelines.diffusion.lora.library import LoraLibrary
    from studio.core.gallery.gallery import Gallery
    from studio.core.store import Store

Content = bytes | Path | IO[bytes]  # of a file that is sent

KIND = "dreambooth"  # of jobs that learn a subject
MAX_SUBJECTS = 100  # of one owner
PREVIEW_SIDE = 256  # pixels of a crop's preview

_OF_SUBJECT = (
    "owner = ? AND kind = ? AND id IN "
    "(SELECT job FROM job_uses WHERE kind = 'subject' AND item = ?)"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file that was sent.

    Attributes:
        name: of the file, to be shown.
        photo: what was taken, or None.
        refusal: why it was not, or None.
        note: what else there is to say, be it of several files that are no photos.
    """

    name: str
    photo: Photo | None = None
    refusal: Message | None = None
    note: Message | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """All that was made from a subject's photos.

    Attributes:
        jobs: ids of the trainings' jobs.
        trainings: ids of their folders.
        loras: names in the library by id.
        pictures: ids in the gallery.
    """

    jobs: list[str] = field(default_factory=list)
    trainings: list[str] = field(default_factory=list)
    loras: dict[str, str] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)


class Subjects(Keeper):
    """Keeps, finds, changes and deletes subjects; each method works for one owner only.

    Args:
        store: the database.
        home: the home folder.
        gallery: has the pictures that were made.
        library: has the LoRAs that were made.
        quota: says whether there is room for photos.
    """

    def __init__(
        self, store: Store, home: Path, gallery: Gallery, library: LoraLibrary, quota: Quota
    ) -> None:
        self._store, self._home, self._quota = store, home, quota
        self._gallery, self._library = gallery, library
        self._locks = Locks()  # one writer for each subject

    # --- making and finding -----------------------------------------------------------------

    def create(self, owner: str, name: str, identifier: str = "", class_word: str = "") -> Subject:
        """A new subject without photos.

        Raises:
            BadRequest: a name or word is empty, too long or cannot stand in a prompt.
            Busy: the owner keeps as much as is allowed.
        """
        return self._add(owner, lambda: Subject.create(self._home, name, identifier, class_word))

    def from_example(self, owner: str, key: str, identifier: str = "") -> Subject:
        """A new subject of the example photos ``key``.

        Raises:
            NotFound: there are no such photos.
            Busy: the owner keeps as much as is allowed.
        """
        return self._add(owner, lambda: take_example(self._home, key, identifier))

    def get(self, owner: str, id: str) -> Subject:
        """Raises NotFound when there is none, or it is another's."""
        row = self._store.row("SELECT id FROM subjects WHERE id = ? AND owner = ?", (id, owner))
        if row is None:
            raise NotFound("You have no subject {id}.", id=id[:60])
        return Subject.open(self._home, row["id"])

    def list(self, owner: str) -> list[Subject]:
        """The owner's, the newest first."""
        rows = self._store.rows(
            "SELECT id FROM subjects WHERE owner = ? ORDER BY number DESC", (owner,)
        )
        found = []
        for row in rows:
            try:
                found.append(Subject.open(self._home, row["id"]))
            except NotFound:  # its folder has been taken away by hand
                continue
        return found

    def identifiers(self, owner: str) -> set[str]:
        """The words by which the owner's subjects are called, in lower case."""
        return {subject.identifier.lower() for subject in self.list(owner)} - {""}

    def photo(self, owner: str, id: str, photo_id: str) -> Photo:
        """Raises NotFound when there is none, or it is another's."""
        photo = self.get(owner, id).photo(photo_id)
        if not photo.path.is_file():
            raise NotFound("There is no photo {id} of this subject.", id=photo_id[:60])
        return photo

    def preview(self, owner: str, id: str, photo_id: str, side: int = PREVIEW_SIDE) -> bytes:
        """The photo's square crop as WEBP; raises NotFound as :meth:`photo` does."""
        buffer = io.BytesIO()
        self.photo(owner, id, photo_id).image(side).save(buffer, "WEBP", quality=80, method=0)
        return buffer.getvalue()

    # --- changing ---------------------------------------------------------------------------

    def check_open(self, owner: str, id: str) -> None:
        """Raises as :meth:`add` does where no photos can be added."""
        self._check_unused(self.get(owner, id))

    def add(self, owner: str, id: str, files: Iterable[tuple[str, Content]]) -> Iterator[Outcome]:
        """Takes photos and zips of photos, one by one; what cannot be taken is said and left out.

        Captions beside the photos become theirs, also those of photos that are here already. What
        systems and trainers keep beside photos is left out.

        Args:
            owner: whose subject it is.
            id: of the subject.
            files: name and content, be it bytes, an open file, or the path of an upload; the files
                of a zip count by themselves.

        Raises:
            NotFound: there is no such subject, or it is another's.
            BadRequest: it is being learnt right now.
        """
        self.check_open(owner, id)
        sent = list(files)
        paths, broken = _paths_in(sent)
        kinds = {path: kind_of(path) for path in paths}
        captions = Captions([path for path, kind in kinds.items() if kind == "photo"])
        for path, data in _unpack(sent, broken, "caption") if "caption" in kinds.values() else ():
            try:
                captions.add(path, _good(data))
            except UserError as error:
                yield Outcome(kept.shown_name(path), refusal=error.message)
        for path, data in _unpack(sent, broken, "photo"):
            yield self._take(owner, id, path, data, captions.of(path))
        yield from broken.values()
        yield from self._caption_later(owner, id, captions)
        yield from _outcomes_of_others(kinds)

    def change(
        self,
        owner: str,
        id: str,
        name: str | None = None,
        identifier: str | None = None,
        class_word: str | None = None,
    ) -> Subject:
        """Changes what is given; raises BadRequest as :meth:`create` does, and NotFound."""
        with self._edit(owner, id) as subject:
            subject.change(name, identifier, class_word)
        return subject

    def change_photo(
        self,
        owner: str,
        id: str,
        photo_id: str,
        caption: str | None = None,
        focus: tuple[float, float] | None = None,
        automatic: bool = False,
    ) -> Photo:
        """Changes a photo's caption or focus; see :meth:`Subject.change_photo`."""
        with self._edit(owner, id) as subject:
            self._check_unused(subject)
            return subject.change_photo(photo_id, caption, focus, automatic)

    def remove_photo(self, owner: str, id: str, photo_id: str) -> None:
        """Deletes one photo.

        Raises:
            NotFound: there is none, or it is another's.
            BadRequest: the subject is being learnt right now.
        """
        with self._edit(owner, id) as subject:
            self._check_unused(subject)
            subject.remove(photo_id)

    # --- deleting ---------------------------------------------------------------------------

    def list_made(self, owner: str, id: str) -> Made:
        """All that :meth:`delete` takes besides the photos; raises NotFound as :meth:`get` does."""
        return self._list_made(owner, self.get(owner, id).id)

    def delete(self, owner: str, id: str) -> Made:
        """Deletes the photos and all that was made from them; says what that was.

        Raises:
            NotFound: there is none, or it is another's.
            BadRequest: a job that has not ended uses the photos or what was made from them.
        """
        with self._locks.hold(id):
            row = self._store.row("SELECT id FROM subjects WHERE id = ? AND owner = ?", (id, owner))
            if row is None:
                raise NotFound("You have no subject {id}.", id=id[:60])
            made = self._list_made(owner, id)
            for use in (Use("subject", id), *(Use("lora", lora) for lora in made.loras)):
                self._check_free(owner, use)
            # A trainer may outlive a studio that was killed.
            if any(
                trainings.TrainingFolder(self._home, each).is_running for each in made.trainings
            ):
                raise _is_learnt(self.get(owner, id))
            # The photos' row last: should this be cut off, the rest is found again by it.
            for picture in made.pictures:
                self._gallery.delete(owner, picture)
            for lora in made.loras:
                self._library.delete(owner, lora)
            for training in made.trainings:
                shutil.rmtree(self._home / trainings.FOLDER / training, ignore_errors=True)
            Subject.discard(self._home, id)
            with self._store.transaction() as connection:
                connection.execute(f"DELETE FROM jobs WHERE {_OF_SUBJECT}", (owner, KIND, id))
                connection.execute("DELETE FROM subjects WHERE id = ?", (id,))
        return made

    def delete_all(self, owner: str) -> int:
        """Deletes all of an owner's with what was made from them; returns how many there were."""
        rows = self._store.rows("SELECT id FROM subjects WHERE owner = ?", (owner,))
        for row in rows:
            self.delete(owner, row["id"])
        return len(rows)

    def bytes_used(self, owner: str) -> int:
        """Bytes of an owner's photos."""
        return self._store.sum_of("bytes", "subjects", owner)

    def bytes_of_all(self) -> int:
        """Bytes of everybody's photos."""
        return self._store.sum_of("bytes", "subjects", None)

    def clean_up(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes folders that belong to nobody; yields the bytes of each."""
        known = {row["id"] for row in self._store.rows("SELECT id FROM subjects")}
        yield from clear_folders(ownerless_folders(self._home / kept.FOLDER, known), dry_run)

    # --- within -----------------------------------------------------------------------------

    def _add(self, owner: str, make: Callable[[], Subject]) -> Subject:
        self._quota.check_room(owner)
        (count,) = self._store.row("SELECT COUNT(*) FROM subjects WHERE owner = ?", (owner,))
        if count >= MAX_SUBJECTS:
            raise Busy(
                "You have {count} subjects; {limit} are allowed. Delete one first.",
                count=count,
                limit=MAX_SUBJECTS,
            )
        with room_for(0, self._home):
            subject = make()
        try:
            self._store.write(
                "INSERT INTO subjects (id, owner, bytes, created) VALUES (?, ?, ?, ?)",
                (subject.id, owner, subject.bytes, subject.created),
            )
        except BaseException:
            subject.delete()
            raise
        return subject

    def _take(
        self, owner: str, id: str, name: str, data: bytes | UserError, caption: str | None
    ) -> Outcome:
        shown = kept.shown_name(name)
        try:
            content = _good(data)
            self._quota.check_room(owner)
            with self._edit(owner, id) as subject:
                if caption is None:
                    return Outcome(shown, photo=subject.add(name, content))
                own = subject.caption_from(caption, words_of_folder(name))
                note = _set_captions(caption, own)
                try:
                    return Outcome(shown, subject.add(name, content, own), note=note)
                except kept.SamePhoto as same:
                    if same.photo.caption != kept.FIRST_CAPTION:  # somebody has written it
                        raise
                    subject.change_photo(same.photo.id, own)
                    return Outcome(shown, refusal=same.message, note=note)
        except UserError as error:
            return Outcome(shown, refusal=error.message)

    def _caption_later(self, owner: str, id: str, captions: Captions) -> Iterator[Outcome]:
        """Gives captions without a photo beside them to the photos of their name that are here."""
        named: dict[str, list[str]] = defaultdict(list)
        for photo in self.get(owner, id).photos:
            own = unicodedata.normalize("NFC", photo.name).lower()
            for name in {own, own.rpartition(".")[0]}:
                named[name].append(photo.id)
        without: Counter[str] = Counter()
        done: set[str] = set()
        for path, name, caption in captions.list_unused():
            if name not in named or name in done:
                without[path] += 1
                continue
            if len(named[name]) > 1:
                several = Message(
                    "{count} photos are called {name}, so that it is not known which of them this "
                    "caption is of. Put it into the folder of its photo, or write it there by "
                    "hand.",
                    count=len(named[name]),
                    name=name[:80],
                )
                yield Outcome(kept.shown_name(path), refusal=several)
                continue
            done.add(name)
            with self._edit(owner, id) as subject:
                own = subject.caption_from(caption)
                for photo_id in named[name]:
                    subject.change_photo(photo_id, own)
            yield Outcome(kept.shown_name(path), note=_set_captions(caption, own))
        for path, first in captions.seconds.items():
            note = Message(
                "Its photo has another caption in {name}, which was taken.",
                name=kept.shown_name(first),
            )
            yield Outcome(kept.shown_name(path), note=note)
        for path, count in without.items():
            shown = kept.shown_name(path)
            if is_list(path):
                note = Message(
                    "{count} of its captions are of photos that are not here, or have one already.",
                    count=count,
                )
                yield Outcome(shown, note=note)
            else:
                refusal = Message(
                    "This is a caption, but no photo of this name was taken. Send both together."
                )
                yield Outcome(shown, refusal=refusal)

    @contextmanager
    def _edit(self, owner: str, id: str) -> Iterator[Subject]:
        """The subject, with nobody else writing to it."""
        with self._locks.hold(id):
            subject = self.get(owner, id)
            with room_for(subject.bytes, self._home):
                yield subject
            self._store.write("UPDATE subjects SET bytes = ? WHERE id = ?", (subject.bytes, id))

    def _check_unused(self, subject: Subject) -> None:
        """A training reads the photos when it begins and again when it goes on."""
        if is_at_work(self._store, None, Use("subject", subject.id)):
            raise _is_learnt(subject)

    def _check_free(self, owner: str, use: Use) -> None:
        if is_at_work(self._store, owner, use):
            raise BadRequest(
                "A job that is waiting or running uses these photos or what was made from them. "
                "Stop it first, or wait for its end."
            )

    def _list_made(self, owner: str, id: str) -> Made:
        jobs = self._store.rows(
            f"SELECT id FROM jobs WHERE {_OF_SUBJECT} ORDER BY number", (owner, KIND, id)
        )
        folders = [each for each in trainings.trainings_in(self._home) if each.subject == id]
        gone = {library_id for folder in folders if (library_id := folder.library_id)}
        gone |= kept.read_made(self._home, id)
        loras = self._lora_names(owner, id, {folder.id for folder in folders}, gone)
        pictures: dict[str, None] = {}  # each once, in the order in which they were painted
        for job in jobs:
            pictures |= dict.fromkeys(row.id for row in self._gallery.of_job(owner, job["id"]))
        learnt = (*loras, *sorted(gone - loras.keys()))
        for use in (Use("subject", id), *(Use("lora", each) for each in learnt)):
            pictures |= dict.fromkeys(self._gallery.ids_using(owner, use))
        return Made(
            [job["id"] for job in jobs], [folder.id for folder in folders], loras, list(pictures)
        )

    def _lora_names(self, owner: str, id: str, folders: set[str], gone: set[str]) -> dict[str, str]:
        """Names by id of what is in the owner's library and comes from a subject.

        Args:
            folders: ids of its trainings.
            gone: ids of what they have made, be it still in the library or not.
        """
        own = self._library.own(owner)
        made = gone | {e.id for e in own if id in e.subjects or e.training in folders}
        return {e.id: e.name for e in own if e.id in made or made.intersection(e.sources)}


def _paths_in(files: Sequence[tuple[str, Content]]) -> tuple[list[str], dict[int, Outcome]]:
    """The paths of all files, those in zips included, and what of the files cannot be opened."""
    paths: list[str] = []
    broken: dict[int, Outcome] = {}
    for number, (name, content) in enumerate(files):
        try:
            with _open(content) as file:
                file.seek(0)
                zipped = is_zip(file.read(4))
                paths += names_in_zip(file) if zipped else [name]
        except FileNotFoundError:  # somebody else has sent the same file, and theirs was read first
            message = Message("{name} is no longer there. Send it again.", name=name[:100])
            broken[number] = Outcome(kept.shown_name(name), refusal=message)
        except UserError as error:  # of the zip as a whole
            broken[number] = Outcome(kept.shown_name(name), refusal=error.message)
    return paths, broken


def _unpack(
    files: Sequence[tuple[str, Content]], broken: dict[int, Outcome], kind: Kind
) -> Iterator[tuple[str, bytes | UserError]]:
    """Files of one kind, those in zips included; an upload is read when its turn comes."""
    for number, (name, content) in enumerate(files):
        if number in broken:
            continue
        try:
            with _open(content) as file:
                file.seek(0)
                if is_zip(file.read(4)):
                    yield from files_in_zip(file, kind)
                    continue
                if kind_of(name) != kind:
                    continue
                file.seek(0)
                data = file.read(LIMITS.bytes + 1)
        except FileNotFoundError:
            yield name, BadRequest("{name} is no longer there. Send it again.", name=name[:100])
            continue
        except UserError as error:
            broken[number] = Outcome(kept.shown_name(name), refusal=error.message)
            continue
        yield name, data


def _good(data: bytes | UserError) -> bytes:
    if isinstance(data, UserError):
        raise data
    return data


def _set_captions(caption: str, own: str) -> Message:
    """What became of a caption out of a data set."""
    if len(caption) <= kept.MAX_CAPTION:
        return Message("Its caption was taken over: “{caption}”.", caption=own[:80])
    return Message("Its caption was taken over and shortened: “{caption}”.", caption=own[:80])


def _outcomes_of_others(kinds: Mapping[str, Kind]) -> Iterator[Outcome]:
    """What is said of files that are no photos of the subject."""
    for kind, words in _NO_PHOTOS.items():
        paths = [path for path, each in kinds.items() if each == kind]
        if paths:
            named = ", ".join(dict.fromkeys(_left_out_name(path, kind) for path in paths))
            yield Outcome(named[:80], note=Message(words, count=len(paths)))


def _left_out_name(path: str, kind: Kind) -> str:
    """The folder for which a file was left out, or its name."""
    *folders, name = path.replace("\\", "/").split("/")
    return next((each for each in folders if kind_of(f"{each}/x.png") == kind), name)


_NO_PHOTOS: dict[Kind, str] = {
    "system": "Left out: {count} (thumbnails and lists that systems keep beside photos).",
    "training": "Left out: {count} (class pictures, masks or stored latents of a trainer).",
}


def _open(content: Content) -> AbstractContextManager[IO[bytes]]:
    if isinstance(content, Path):
        return content.open("rb")
    return io.BytesIO(content) if isinstance(content, bytes) else nullcontext(content)


def _is_learnt(subject: Subject) -> BadRequest:
    return BadRequest(
        "{name} is being learnt right now. Stop the training, or wait for its end.",
        name=subject.name,
    )
