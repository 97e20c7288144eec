"""The tools: paint, change, upscale, list models, get a picture."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import io
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mcp_types as types
from anyio import CancelScope
from anyio.to_thread import run_sync
from PIL import Image

from pipelines.core.errors import BadRequest, NotFound, UserError, unforeseen
from pipelines.core.messages import Message
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.upscaling.requests import UpscaleRequest
from studio.core.jobs.record import DONE, Job
from studio.i18n import translate

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from studio.core.accounts.accounts import Owner
    from studio.core.gallery.gallery import SavedPicture
    from studio.core.services import Studio

MAX_PIXELS = 1_000_000  # of a picture within an answer; the link has it whole
LOOK_SECONDS = 0.3  # between two looks at how far a job is
LONGEST_ID = 100  # characters; what is longer is a picture
PICTURE = {
    "type": "string",
    "description": "The id of a picture, or a PNG, JPEG or WEBP in base64.",
}
MASK = {
    "type": "string",
    "description": "What of the picture is painted anew is white: an id, or a file in base64.",
}
_START = ("strength", "area", "masked_content")
_FIELDS = ("prompt", "negative_prompt", "model", "width", "height", "steps", "guidance",
           "sampler", "seed", "batch_count")  # fmt: skip
_log = logging.getLogger(__name__)


def _schema(fields: Mapping[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(fields),
        "required": list(required),
        "additionalProperties": False,
    }


def _fields_of(request: type, names: tuple[str, ...]) -> dict[str, Any]:
    """What a request's schema says of some of its fields: bounds, defaults, help."""
    properties = request.model_json_schema()["properties"]
    return {name: properties[name] for name in names}


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a tool.

    Attributes:
        left: set once the client hears no answer any more.
    """

    owner: Owner
    given: dict[str, Any]
    base: str
    left: asyncio.Event
    report: Callable[..., Awaitable[None]]


class Tools:
    """What agents may use; each works for the owner whose key a call came with.

    Args:
        studio: that does the work.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        painting = _fields_of(TextToImageRequest, _FIELDS)
        self._tools: dict[str, tuple[str, dict[str, Any], Any]] = {
            "paint": ("Paints pictures from words.", _schema(painting, ("prompt",)), self._paint),
            "change": (
                "Paints a picture anew from another one and words.",
                _schema(
                    {
                        "picture": PICTURE,
                        "mask": MASK,
                        **painting,
                        **_fields_of(FromPicture, _START),
                    },
                    ("picture", "prompt"),
                ),
                self._change,
            ),
            "list_models": ("Lists the models that paint.", _schema({}), self._list_models),
            "get_picture": (
                "Shows a picture by its id.",
                _schema({"picture": {"type": "string"}}, ("picture",)),
                self._get_picture,
            ),
        }
        if studio.find("upscalers") is not None:
            self._tools["upscale"] = (
                "Makes a picture larger.",
                _schema(
                    {"picture": PICTURE, **_fields_of(UpscaleRequest, ("upscaler", "scale"))},
                    ("picture",),
                ),
                self._upscale,
            )

    async def list_tools(
        self, ctx: ServerRequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """All tools; they are the same for everybody."""
        return types.ListToolsResult(
            tools=[
                types.Tool(name=name, description=words, input_schema=schema)
                for name, (words, schema, _) in self._tools.items()
            ]
        )

    async def call_tool(
        self, ctx: ServerRequestContext, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """What a tool has made; what is wrong is said in the result, where the model reads it."""
        state = ctx.request.state
        call = _Call(
            state.owner,
            {name: v for name, v in (params.arguments or {}).items() if v is not None},
            str(ctx.request.base_url),
            state.mcp_client_left,
            ctx.session.report_progress,
        )
        try:
            _, schema, work = self._tool(params.name)
            _check_names(call.given, schema)
            return await work(call)
        except UserError as error:
            words = str(error)
        except Exception as error:
            _log.exception("the tool %.40s failed", params.name)
            words = translate(unforeseen(error), "en")
        return types.CallToolResult(content=[types.TextContent(text=words)], is_error=True)

    def _tool(self, name: str) -> tuple[str, dict[str, Any], Any]:
        if name not in self._tools:
            raise NotFound(
                "There is no tool called {name}. There are {names}.",
                name=name[:60],
                names=", ".join(self._tools),
            )
        return self._tools[name]

    # --- the tools --------------------------------------------------------------------------

    async def _paint(self, call: _Call) -> types.CallToolResult:
        return await self._run(call, "text_to_image", call.given)

    async def _change(self, call: _Call) -> types.CallToolResult:
        data = dict(call.given)
        start = {name: data.pop(name) for name in _START if name in data}
        for name in ("picture", "mask"):
            if name in data:
                start[name] = await run_sync(self._bring, call.owner, data.pop(name))
        return await self._run(call, "text_to_image", {**data, "from_picture": start})

    async def _upscale(self, call: _Call) -> types.CallToolResult:
        picture = await run_sync(self._bring, call.owner, call.given["picture"])
        return await self._run(call, "upscale", {**call.given, "picture": picture})

    async def _list_models(self, call: _Call) -> types.CallToolResult:
        return _result(await run_sync(self._models, call.owner))

    def _models(self, owner: Owner) -> dict[str, Any]:
        everybodys = [
            entry
            for entry in self.studio.catalog.models()
            if entry.refused is None and self.studio.paintings.is_here(entry)
        ]
        entries = [*everybodys, *self.studio.loras.models(owner.id)]
        return {"models": [{"name": each.name, "title": each.title} for each in entries]}

    async def _get_picture(self, call: _Call) -> types.CallToolResult:
        picture_id = str(call.given["picture"])
        found = await run_sync(self.studio.gallery.get, call.owner.id, picture_id)
        return await run_sync(self._show, call, [found])

    # --- jobs and pictures ------------------------------------------------------------------

    def _bring(self, owner: Owner, given: Any) -> str:
        """The id by which jobs find a picture of the gallery, or one that was sent."""
        text = str(given)
        if len(text) <= LONGEST_ID and "://" not in text:
            return self.studio.inputs.from_gallery(owner.id, text).id
        if text.startswith("data:"):
            text = text.partition(",")[2]
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest(
                "The picture is neither an id nor base64: pictures are not fetched from addresses."
            ) from None
        return self.studio.inputs.bring(owner.id, data).id

    async def _run(self, call: _Call, kind: str, data: dict[str, Any]) -> types.CallToolResult:
        job = await run_sync(self.studio.submissions.submit, call.owner, kind, data)
        try:
            job = await self._wait(call, job)
        finally:
            if not job.ended:  # cancelled, or nobody hears of it any more
                with CancelScope(shield=True):
                    await run_sync(self.studio.jobs.cancel, call.owner.id, job.id)
        if job.state != DONE:
            if job.error is not None:
                raise BadRequest(job.error.template, **job.error.values)
            raise BadRequest("The job was cancelled in the studio.")
        pictures = await run_sync(self.studio.gallery.of_job, call.owner.id, job.id)
        notes = [str(Message.from_json(each)) for each in (job.result or {}).get("notes", ())]
        return await run_sync(self._show, call, pictures, notes)

    async def _wait(self, call: _Call, job: Job) -> Job:
        """The job once it has ended, or as it is when the client leaves."""
        ended, loop, said = asyncio.Event(), asyncio.get_running_loop(), -1

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the studio is closing
                loop.call_soon_threadsafe(ended.set)

        with self.studio.jobs.on_job_end(tell):
            while True:
                ended.clear()
                job = await run_sync(self.studio.jobs.get, job.owner, job.id)
                if job.ended or call.left.is_set():
                    return job
                if job.step > said:
                    said = job.step
                    await call.report(float(job.step), float(job.total) if job.total else None)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), LOOK_SECONDS)

    def _show(
        self, call: _Call, pictures: list[SavedPicture], notes: Sequence[str] = ()
    ) -> types.CallToolResult:
        """The pictures, where they are whole, and what had no effect or was done otherwise."""
        facts, shown = [], []
        for each in pictures:
            link = f"{call.base}mcp/pictures/{each.id}.png"
            facts.append({"id": each.id, "width": each.width, "height": each.height, "link": link})
            data = _small_png(self.studio.gallery.open(call.owner.id, each.id))
            shown.append(types.ImageContent(data=data, mime_type="image/png"))
        result = _result({"pictures": facts} | ({"notes": list(notes)} if notes else {}))
        return result.model_copy(update={"content": [*result.content, *shown]})


def _check_names(given: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    for name in given:
        if name not in schema["properties"]:
            raise BadRequest(
                "{field} is not known here. There are {names}.",
                field=name[:60],
                names=", ".join(schema["properties"]) or "–",
            )
    for name in schema["required"]:
        if name not in given:
            raise BadRequest("{field} is missing.", field=name)


def _result(facts: dict[str, Any]) -> types.CallToolResult:
    """Facts as text, for clients that know of no others, and as they are."""
    text = types.TextContent(text=json.dumps(facts, ensure_ascii=False))
    return types.CallToolResult(content=[text], structured_content=facts)


def _small_png(picture: Image.Image) -> str:
    """A picture of at most :data:`MAX_PIXELS` as PNG in base64, without its settings."""
    pixels = picture.width * picture.height
    if pixels > MAX_PIXELS:
        scale = (MAX_PIXELS / pixels) ** 0.5
        size = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
