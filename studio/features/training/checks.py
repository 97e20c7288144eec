"""What must hold before something is learnt, or shown before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.core.errors import NotFound
from pipelines.dreambooth.requests import BeforeAfterRequest, TrainingRequest
from pipelines.models.catalog import OWN

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio


def fill_training(studio: Studio, owner: Owner, data: dict[str, Any]) -> dict[str, Any]:
    """The data with what only the server decides."""
    return studio.trainings.fill_in(owner.id, data)


def check_training(studio: Studio, owner: Owner, request: TrainingRequest) -> TrainingRequest:
    """The request by its model's own name, if it can be trained."""
    model = studio.loras.model_name(owner.id, request.model)
    request = request.model_copy(update={"model": model})
    studio.trainings.check(owner.id, request)
    studio.paintings.check_model(owner, studio.catalog.get(request.model))
    return request


def check_before_after(
    studio: Studio, owner: Owner, request: BeforeAfterRequest
) -> BeforeAfterRequest:
    """The request with the id of what was learnt, which must be in the owner's library."""
    model = studio.loras.model_name(owner.id, request.base.model)
    base = request.base.model_copy(update={"model": model})
    request = request.model_copy(update={"base": base})
    if request.lora is not None:
        record = studio.library.get(owner.id, request.lora.name)
        lora = request.lora.model_copy(update={"id": record.id})
        request = request.model_copy(update={"lora": lora})
    else:
        name = studio.loras.model_name(owner.id, str(request.model))
        if not name.startswith(OWN):
            raise NotFound("There is no trained model {model} in your library.", model=name[:60])
        request = request.model_copy(update={"model": name})
    for row in request.rows():
        studio.paintings.check(owner, row[0])
    return request
