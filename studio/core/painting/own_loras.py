"""Everybody's own LoRAs, learned words and models, and those that all may use.

What is in another's library is not found, as if it were not there: neither listed, used,
downloaded, renamed nor deleted. Names are turned into ids here, for whoever asks; engines only see
ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipelines.core.engine import Use
from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.matching import find_name
from pipelines.diffusion.lora.library import LoraLibrary, Style
from pipelines.diffusion.lora.record import SHARED, LoraRecord
from pipelines.diffusion.lora.tags import uses_in_template, uses_of
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.styles import get_style
from pipelines.diffusion.wording.grammar import is_dynamic
from pipelines.dreambooth.data.subjects import note_made
from pipelines.dreambooth.folder import TrainingFolder
from pipelines.models.catalog import OWN, ModelEntry
from studio.core.home import room_for
from studio.core.jobs.job_uses import is_at_work
from studio.core.quota import Keeper, Quota

if TYPE_CHECKING:
    from pipelines.models.catalog import Catalog
    from studio.core.store import Store

RequestT = TypeVar("RequestT", bound=TextToImageRequest)


class Loras(Keeper):
    """Lists, brings in, hands out, renames and deletes; each method works for one owner only.

    Args:
        store: the database, whose jobs may need what is to be deleted.
        library: where all lies.
        catalog: the models that are no one's own.
        quota: says whether there is room.
    """

    def __init__(
        self,
        store: Store,
        library: LoraLibrary,
        catalog: Catalog,
        quota: Quota,
    ) -> None:
        self._store, self._library, self._catalog, self._quota = store, library, catalog, quota

    # --- the library --------------------------------------------------------------------------

    def list(self, owner: str) -> list[LoraRecord]:
        """The owner's, newest first, then everybody's."""
        return self._library.list(owner)

    def models(self, owner: str) -> list[ModelEntry]:
        """The whole models that the owner has trained or merged, newest first."""
        own = [record for record in self.list(owner) if record.kind == "model"]
        return [self._catalog.get(f"{OWN}{record.id}") for record in own if record.owner == owner]

    def entry(self, owner: str, name: str) -> ModelEntry:
        """A base model: one of everybody's, or one that the owner has trained or merged.

        Raises:
            NotFound: there is none, or it is another's.
        """
        return self._catalog.get(self.model_name(owner, name))

    def get(self, owner: str, id: str) -> LoraRecord:
        """Raises NotFound when there is none, or it is another's."""
        record = self._library.by_id(id)
        if record.owner not in (owner, SHARED):
            raise NotFound("The LoRA {id} is no longer in the library.", id=id[:60])
        return record

    def bring(self, owner: str, name: str, file: Path) -> LoraRecord:
        """Puts an uploaded file in the owner's library; the file itself stays where it is.

        Raises:
            BadRequest: it cannot be used; the sentence says why.
            Busy: the owner keeps as much as is allowed.
            DiskFull: there is no room for it.
        """
        self.check_room(owner)
        with room_for(file.stat().st_size, self._library.home):
            return self._library.add(owner, name, file)

    def check_room(self, owner: str) -> None:
        """Raises Busy when the owner, or everybody together, keeps as much as is allowed."""
        self._quota.check_room(owner)

    def export(self, owner: str, id: str, style: Style) -> tuple[str, bytes]:
        """A file name and the file that other tools read.

        Raises:
            NotFound: there is none, or it is another's.
            BadRequest: it is a whole model, or damaged.
        """
        record = self.get(owner, id)
        usual = style == "diffusers" and record.kind == "lora"
        name = "pytorch_lora_weights" if usual else record.name
        return f"{name}.safetensors", self._library.export(record.id, style)

    def rename(self, owner: str, id: str, name: str) -> LoraRecord:
        """Raises NotFound when it is not the owner's, Refused when it is everybody's."""
        return self._library.rename(owner, self.get(owner, id).id, name)

    def delete(self, owner: str, id: str) -> None:
        """Takes it out of the library for good.

        Raises:
            NotFound: there is none, or it is another's.
            Refused: it is everybody's.
            BadRequest: a job that has not ended needs it.
        """
        record = self.get(owner, id)
        if is_at_work(self._store, owner, Use("lora", record.id)):
            raise BadRequest(
                "A job that is waiting or running uses {name}. Cancel it first, or wait for its "
                "end.",
                name=record.name,
            )
        # Noted first: pictures that were painted with it go with the photos that it has learnt.
        for subject in {*record.subjects, self._subject_of(record)} - {None}:
            note_made(self._library.home, subject, record.id)
        self._library.delete(owner, record.id)

    def delete_all(self, owner: str) -> int:
        """Deletes all that is the owner's own; returns how much that was. Raises BadRequest as
        :meth:`delete` does."""
        own = self._library.own(owner)
        for record in own:
            self.delete(owner, record.id)
        return len(own)

    def _subject_of(self, record: LoraRecord) -> str | None:
        """The subject of the training that made it, for entries that do not know it themselves."""
        return (
            TrainingFolder(self._library.home, record.training).subject if record.training else None
        )

    # --- the room they take -----------------------------------------------------------------

    def bytes_used(self, owner: str) -> int:
        """Bytes of all that is the owner's own."""
        return sum(record.bytes for record in self._library.own(owner))

    # --- in requests ------------------------------------------------------------------------

    def fill_in(self, owner: str, request: RequestT) -> RequestT:
        """The request with the ids of all that it names; a client's own ids are not believed.

        LoRAs that only the prompt names are listed too, so that it is known what a job needs.

        Raises:
            NotFound, BadRequest: as :meth:`with_ids` and :meth:`model_name` do, or a tag cannot be
                read.
        """
        styled = _style(request)
        named = uses_in_template if is_dynamic(styled.prompt) else uses_of
        changes = {
            "model": self.model_name(owner, request.model),
            "loras": self.with_ids(owner, named(styled)),
        }
        if request.hires is not None and request.hires.model is not None:
            model = self.model_name(owner, request.hires.model)
            changes["hires"] = request.hires.model_copy(update={"model": model})
        return request.model_copy(update=changes)

    def with_ids(self, owner: str, uses: Iterable[LoraUse]) -> tuple[LoraUse, ...]:
        """LoRAs with the ids of those that their names mean.

        Raises:
            NotFound: the owner has none of that name, nor has everybody.
            BadRequest: something else than a LoRA is named.
        """
        return tuple(
            use.model_copy(
                update={"id": self._library.find(use.model_copy(update={"id": None}), owner).id}
            )
            for use in uses
        )

    def model_name(self, owner: str, name: str) -> str:
        """The name under which the catalog knows a model of the owner's; others stay.

        Raises:
            NotFound: it is the id of none of the owner's models.
        """
        own = {record.id: record for record in self._library.own(owner) if record.kind == "model"}
        if name.startswith(OWN):
            if name.removeprefix(OWN) not in own:
                raise NotFound(
                    "There is no trained model {model} in your library.", model=name[:60]
                )
            return name
        if (known := find_name(name, (entry.name for entry in self._catalog.models()))) is not None:
            return known
        ids = {record.name: id for id, record in reversed(own.items())}
        mine = find_name(name, ids)
        return name if mine is None else f"{OWN}{ids[mine]}"


def _style(request: TextToImageRequest) -> TextToImageRequest:
    """With the words of its style, which may name LoRAs too."""
    if request.style is None:
        return request
    prompt, negative = get_style(request.style).apply(request.prompt, request.negative_prompt)
    return request.model_copy(update={"prompt": prompt, "negative_prompt": negative})
