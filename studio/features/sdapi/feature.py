"""The door for programs that speak A1111's protocol."""

from __future__ import annotations

from studio.core.feature import Feature, ForeignApi, Upload
from studio.features.sdapi.errors import refuse
from studio.features.sdapi.memory import Memory
from studio.features.sdapi.routes import CONTROLNET, SDAPI, control_router, router

MAX_BYTES = 4_000_000  # options that are sent back whole, and prompts
STRANGER = (
    "Send name and password by HTTP Basic; the password may be an API key of this studio. The host "
    "makes one by `python -m studio.keys make NAME`."
)

FEATURE = Feature(
    name="sdapi",
    services={"sdapi_memory": Memory},
    foreign_apis=(
        ForeignApi(
            door="a1111",
            prefix=f"{SDAPI}/",
            routes=router,
            refuse=refuse,
            stranger=STRANGER,
            max_bytes=MAX_BYTES,
            uploads={"txt2img|img2img|extra-(single-image|batch-images)|png-info": Upload.FILE},
        ),
        ForeignApi(
            door="a1111",
            prefix=f"{CONTROLNET}/",
            routes=control_router,
            refuse=refuse,
            stranger=STRANGER,
            max_bytes=MAX_BYTES,
        ),
    ),
)
