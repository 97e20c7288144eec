"""The HTTP API's part for subjects: their photos, words, examples, and what was made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import Field

from pipelines.core.engine import StrictModel
from pipelines.dreambooth.data import identifiers
from pipelines.dreambooth.data.examples import examples
from pipelines.dreambooth.requests import Method
from studio.api.access import BELOW_ROOT
from studio.api.dependencies import CurrentLanguage, CurrentOwner, CurrentStudio, body_as
from studio.api.http import KEPT, NOT_KEPT, receive_body
from studio.i18n import translate

if TYPE_CHECKING:
    from pipelines.dreambooth.data.subjects import Photo, Subject
    from studio.features.training.subjects import Made, Outcome

MAX_TEXT = 2000  # characters; the subject itself says how long its words may be


class _Words(StrictModel):
    """A subject's words; those left out stay as they are."""

    name: Annotated[str | None, Field(max_length=MAX_TEXT, title="Name")] = None
    identifier: Annotated[str | None, Field(max_length=MAX_TEXT, title="Identifier")] = None
    class_word: Annotated[str | None, Field(max_length=MAX_TEXT, title="Class")] = None


class _PhotoChange(StrictModel):
    """A photo's caption and focus; those left out stay as they are.

    Attributes:
        focus: fractions of width and height from the top left.
        automatic: True: the focus that was found by itself.
    """

    caption: Annotated[str | None, Field(max_length=MAX_TEXT, title="Caption")] = None
    focus: Annotated[
        tuple[float, float] | None, Field(title="Focus", json_schema_extra={"example": [0.5, 0.5]})
    ] = None
    automatic: Annotated[bool, Field(title="Automatic crop")] = False


router = APIRouter(tags=["subjects"])


@router.post("/subjects", status_code=201)
def create(
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    words: Annotated[_Words, body_as(_Words)],
) -> dict[str, Any]:
    """A new subject without photos: ``{"name": …, "identifier": …, "class_word": …}``."""
    made = studio.subjects.create(
        owner.id, words.name or "", words.identifier or "", words.class_word or ""
    )
    return subject_json(made, language)


@router.post("/subjects/from-example/{key}", status_code=201)
def from_example(
    key: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    identifier: Annotated[str, Query(max_length=100)] = "",
) -> dict[str, Any]:
    """A new subject of the example photos that ship; ``GET /examples`` says which there are."""
    return subject_json(studio.subjects.from_example(owner.id, key, identifier), language)


@router.get("/subjects")
def list_subjects(
    studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    """One's own subjects, the newest first."""
    found = studio.subjects.list(owner.id)
    return {"subjects": [subject_json(each, language) for each in found]}


@router.get("/subjects/{subject_id}")
def one(
    subject_id: str, studio: CurrentStudio, owner: CurrentOwner, language: CurrentLanguage
) -> dict[str, Any]:
    return subject_json(studio.subjects.get(owner.id, subject_id), language)


@router.patch("/subjects/{subject_id}")
def change(
    subject_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    words: Annotated[_Words, body_as(_Words)],
) -> dict[str, Any]:
    """Changes name, identifier or class word."""
    changed = studio.subjects.change(
        owner.id, subject_id, words.name, words.identifier, words.class_word
    )
    return subject_json(changed, language)


@router.delete("/subjects/{subject_id}")
def delete(subject_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """Deletes the photos and all that was made from them; the answer says what that was."""
    return {"deleted": made_json(studio.subjects.delete(owner.id, subject_id))}


@router.get("/subjects/{subject_id}/made")
def list_made(subject_id: str, studio: CurrentStudio, owner: CurrentOwner) -> dict[str, Any]:
    """What ``DELETE`` would take besides the photos."""
    return made_json(studio.subjects.list_made(owner.id, subject_id))


@router.post("/subjects/{subject_id}/photos", status_code=201)
async def add(
    subject_id: str,
    request: Request,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    name: Annotated[str, Query(max_length=1000)] = "photo",
) -> dict[str, Any]:
    """Takes a photo (PNG, JPEG, WEBP or GIF), a zip of photos, or a caption, sent as the body.

    ``name`` is the file's. The answer says of each file what became of it. Captions beside
    photos (``x.txt``, ``x.caption``, ``metadata.jsonl``) become theirs; one that is sent alone
    becomes that of the photo of its name. ``notes`` tells of them and of what is no photo.
    """
    await run_sync(studio.subjects.check_open, owner.id, subject_id)  # before anything is sent

    async with receive_body(request, studio.home) as file:

        def take() -> list[Outcome]:
            return list(studio.subjects.add(owner.id, subject_id, [(name, file)]))

        outcomes = await run_sync(take)
    subject = await run_sync(studio.subjects.get, owner.id, subject_id)
    return {
        "taken": [photo_json(subject, o.photo, language) for o in outcomes if o.photo],
        "refused": [
            {"name": o.name, "reason": translate(o.refusal, language)}
            for o in outcomes
            if o.refusal
        ],
        "notes": [
            {"name": o.name, "note": translate(o.note, language)} for o in outcomes if o.note
        ],
    }


@router.patch("/subjects/{subject_id}/photos/{photo_id}")
def change_photo(
    subject_id: str,
    photo_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    change: Annotated[_PhotoChange, body_as(_PhotoChange)],
) -> dict[str, Any]:
    """Changes a photo's caption or focus."""
    photo = studio.subjects.change_photo(
        owner.id, subject_id, photo_id, change.caption, change.focus, change.automatic
    )
    return photo_json(studio.subjects.get(owner.id, subject_id), photo, language)


@router.delete("/subjects/{subject_id}/photos/{photo_id}", status_code=204)
def remove(subject_id: str, photo_id: str, studio: CurrentStudio, owner: CurrentOwner) -> None:
    studio.subjects.remove_photo(owner.id, subject_id, photo_id)


@router.get("/subjects/{subject_id}/photos/{photo_id}.png")
def photo(
    subject_id: str, photo_id: str, studio: CurrentStudio, owner: CurrentOwner
) -> FileResponse:
    """The whole photo as it is kept."""
    found = studio.subjects.photo(owner.id, subject_id, photo_id)
    return FileResponse(found.path, media_type="image/png", headers=KEPT)


@router.get("/subjects/{subject_id}/photos/{photo_id}/crop.webp")
def crop(
    subject_id: str,
    photo_id: str,
    studio: CurrentStudio,
    owner: CurrentOwner,
    side: Annotated[int, Query(ge=64, le=1024)] = 256,
    focus: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """The square that is learnt from. With ``focus`` in its address it may be kept."""
    data = studio.subjects.preview(owner.id, subject_id, photo_id, side)
    return Response(data, media_type="image/webp", headers=KEPT if focus else NOT_KEPT)


@router.get("/examples")
def all_examples() -> dict[str, Any]:
    """The example photos that ship."""
    return {
        "examples": [
            {
                "key": each.key,
                "name": each.name,
                "class_word": each.class_word,
                "photos": len(each.captions),
            }
            for each in examples().values()
        ]
    }


@router.get("/identifiers")
def words(
    studio: CurrentStudio,
    owner: CurrentOwner,
    language: CurrentLanguage,
    base: Annotated[str, Query(max_length=200)],
    word: Annotated[str, Query(max_length=100)] = "",
    method: Method = "lora",
    class_word: Annotated[str, Query(max_length=100)] = "",
) -> dict[str, Any]:
    """Rare words for a base model, and what it makes of ``word``. Textual inversion takes new
    ones, which ``class_word`` becomes a part of."""
    entry = studio.loras.entry(owner.id, base)
    taken = studio.subjects.identifiers(owner.id)
    learnt = {"method": method, "class_word": class_word}
    answer: dict[str, Any] = {"proposed": identifiers.propose(entry, taken, **learnt)}
    if word.strip():
        checked = identifiers.check(word, entry, **learnt)
        answer |= {
            "word": checked.word,
            "tokens": list(checked.tokens),
            "good": checked.good,
            "message": translate(checked.message, language),
        }
    return answer


def subject_json(subject: Subject, language: str) -> dict[str, Any]:
    """A subject as the API describes it; remarks in ``language``."""
    return {
        "id": subject.id,
        "name": subject.name,
        "identifier": subject.identifier,
        "class_word": subject.class_word,
        "bytes": subject.bytes,
        "created": subject.created,
        "photos": [photo_json(subject, photo, language) for photo in subject.photos],
    }


def photo_json(subject: Subject, photo: Photo, language: str) -> dict[str, Any]:
    """A photo as the API describes it."""
    address = f"{BELOW_ROOT}/subjects/{subject.id}/photos/{photo.id}"
    x, y = photo.focus
    return {
        "id": photo.id,
        "name": photo.name,
        "caption": photo.caption,
        "focus": [x, y],
        "automatic": not photo.chosen,
        "width": photo.width,
        "height": photo.height,
        "bytes": photo.bytes,
        "remarks": [translate(remark, language) for remark in subject.remarks(photo)],
        "url": f"{address}.png",
        "crop": f"{address}/crop.webp?focus={x:g},{y:g}",
    }


def made_json(made: Made) -> dict[str, Any]:
    """What was made from a subject, as the API describes it."""
    return {
        "trainings": made.trainings,
        "loras": [{"id": id, "name": name} for id, name in made.loras.items()],
        "pictures": made.pictures,
    }
