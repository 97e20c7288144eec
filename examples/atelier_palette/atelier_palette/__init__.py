"""Palettes: each owner's named colours, and plain pictures of them."""

import json
from pathlib import Path

import gradio as gr
from fastapi import APIRouter
from PIL import Image
from pydantic import BaseModel, Field

from pipelines.core.engine import Engine
from pipelines.core.errors import NotFound
from pipelines.core.events import Picture, Result
from studio.api.dependencies import CurrentOwner, CurrentStudio
from studio.core.feature import Feature, Tab
from studio.core.gallery.gallery import owner_folder
from studio.core.quota import Keeper
from studio.page.components.result_panel import ResultPanel
from studio.page.widgets import from_field, label


class MixRequest(BaseModel):
    name: str = Field("brick", max_length=40, title="Name of a colour")
    value: str = ""  # which the check fills in


def run(request, cache, stop):  # the engine
    yield Picture(Image.new("RGB", (64, 64), request.value), request, 0.0)
    yield Result({"value": request.value})


class Palettes(Keeper):  # the service, which keeps data of owners
    def __init__(self, studio):
        self.folder = studio.home / "palettes"
        self.folder.mkdir(exist_ok=True)

    def path(self, owner):
        return self.folder / f"{owner_folder(owner)}.json"

    def bytes_used(self, owner):
        return self.path(owner).stat().st_size if self.path(owner).is_file() else 0

    def delete_all(self, owner):
        here = self.path(owner).is_file()
        self.path(owner).unlink(missing_ok=True)
        return int(here)


def check(studio, owner, request):
    path = studio.palettes.path(owner.id)
    colours = json.loads(path.read_text()) if path.is_file() else {"brick": "#b2402a"}
    if request.name not in colours:
        raise NotFound("Your palette has no colour {name}.", name=request.name)
    return request.model_copy(update={"value": colours[request.name]})


router = APIRouter()


@router.put("/palette")
def keep(colours: dict[str, str], studio: CurrentStudio, owner: CurrentOwner):
    studio.palettes.path(owner.id).write_text(json.dumps(colours))
    return colours


class PaletteTab(Tab):
    id, label = "palette", "Palette"

    def draw(self):
        self.name = from_field(MixRequest, "name", elem_id="colour-name")
        self.mix = gr.Button(label("Paint"), variant="primary", elem_id="mix")
        self.panel = ResultPanel(self.studio, "mix", "palette")

    def listen(self, events, exchange):
        self.panel.connect(events, self.mix, self.fields, [self.name], self.result, [])

    def fields(self, values, visitor):
        return {"name": values[0]}

    def result(self, job, visitor, values):
        (picture,) = self.studio.gallery.of_job(visitor.owner.id, job.id)
        return f'<img src="pictures/{picture.id}.png" alt="{job.result["value"]}">'


FEATURE = Feature(
    name="palette",
    engines=(Engine("mix", MixRequest, "atelier_palette", light=True),),
    services={"palettes": Palettes},
    checks={MixRequest: check},
    tabs=(PaletteTab,),
    routes=router,
    keepers=("palettes",),
    texts=Path(__file__).parent,
)
