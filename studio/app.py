"""Builds the ASGI app of a studio: the page, the HTTP API and the pictures."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import anyio.to_thread

from pipelines.diffusion.samplers import samplers_in
from studio.api.sse import EndedStreams, OpenStreams
from studio.core.cleaning import UPLOADS
from studio.core.environment import forget_foreign_settings
from studio.core.services import Options, Studio
from studio.features import load_features

if TYPE_CHECKING:
    from fastapi import FastAPI

CACHE_SECONDS = 24 * 3600  # how old Gradio's copies of shown and uploaded files may get
# torch takes the interpreter for seconds while it loads: the first page goes first.
PAGE_SECONDS, SETTLE_SECONDS = 10.0, 1.5


def open_studio(options: Options) -> Studio:
    """A studio with all features that there are on this machine.

    Raises:
        UserError: it cannot be opened, or is to go without a door that is not there.
    """
    forget_foreign_settings()  # Gradio reads them when a feature's tab imports it
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    features = load_features()
    features.close_doors(options.closed_doors)
    return Studio(options, features)


def warm_up(studio: Studio) -> None:
    """Loads what the first job needs (torch and the engines), so that it need not wait.

    The host's own samplers are tried meanwhile; broken ones are not offered any more.

    Raises:
        UserError: the device that was asked for is not there.
    """
    studio.device.prepare()
    for engine in studio.features.engines().values():
        engine.load()
    samplers_in(studio.home).check_own()  # imports diffusers, which the engines have done


def build_app(
    studio: Studio,
    on_first_page: Callable[[], None] | None = None,
    on_warm: Callable[[], object] = lambda: None,
) -> FastAPI:
    """The ASGI app of ``studio``; its lifespan starts and stops the workers.

    Args:
        on_first_page: run in a thread once the first page is out, or after a while without one.
        on_warm: run in that thread afterwards.
    """
    forget_foreign_settings()  # Gradio reads them when a page is built, too
    cache = studio.home / UPLOADS
    shutil.rmtree(cache, ignore_errors=True)  # what a killed studio has left
    os.environ["GRADIO_TEMP_DIR"] = str(cache)
    import gradio
    from fastapi import FastAPI
    from starlette.middleware import Middleware
    from starlette.staticfiles import StaticFiles

    from studio.api import gradio_guard, login, routes
    from studio.api.access import MAX_LARGE_UPLOAD_BYTES, Access
    from studio.api.foreign_errors import OwnWords
    from studio.api.proxies import BelowPath, OwnAddress
    from studio.api.visitor_limits import VisitorLimits
    from studio.core.accounts.session_owners import SessionOwners
    from studio.core.upload_ledger import UploadLedger
    from studio.page import parts, shell
    from studio.page.assets import AssetCache
    from studio.page.cache import PageCache, PageDelivery
    from studio.page.errors import page_error_handlers
    from studio.page.events import check_joining
    from studio.page.gradio_script import script_router
    from studio.page.head import PageHead
    from studio.page.queue import PageQueue
    from studio.page.sessions import Sessions
    from studio.page.uploads import UploadParser

    gradio_guard.forbid_fetching()
    UploadParser.take_over()

    root_path = studio.options.root_path
    page_seen = threading.Event()
    closing = threading.Event()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        studio.jobs.start()
        if on_first_page is not None:
            arguments = (on_first_page, on_warm, page_seen, closing)
            threading.Thread(
                target=_warm_up_later, args=arguments, name="warm-up", daemon=True
            ).start()
        try:
            yield
        finally:
            closing.set()
            await anyio.to_thread.run_sync(studio.close)

    app = FastAPI(title="Atelier", lifespan=lifespan, docs_url=None, redoc_url=None)
    routes.install(app, studio)
    app.include_router(login.router)
    app.include_router(script_router())
    app.include_router(parts.router)
    scripts = {pair for feature in studio.features for pair in feature.scripts.items()}
    for address, folder in sorted(scripts, reverse=True):  # folders before those that they are in
        app.mount(address, StaticFiles(directory=folder))
    uploads = UploadLedger(cache, lambda owner: studio.quota.room(owner.id))
    blocks = shell.build(studio, uploads.holds)
    blocks.delete_cache = (CACHE_SECONDS, CACHE_SECONDS)
    sessions = SessionOwners()
    gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        max_file_size=MAX_LARGE_UPLOAD_BYTES,  # what reads smaller files has limits of its own
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        app_kwargs={
            "exception_handlers": page_error_handlers(),
            "middleware": [
                Middleware(PageQueue, page=blocks, sessions=sessions),
                *map(Middleware, (PageDelivery, PageHead, OwnAddress, PageCache)),
            ],
        },
        root_path=root_path,
        **shell.look(studio),
    )
    app.state.parts = parts.take_parts(blocks)
    mounted = (getattr(route, "app", None) for route in app.routes)
    Sessions.take_over(next(each for each in mounted if isinstance(each, gradio.routes.App)))
    check_joining(blocks, sessions)
    app.add_middleware(OwnWords, routes=app.routes, features=studio.features)
    app.add_middleware(VisitorLimits, uploads=uploads, sessions=sessions, features=studio.features)
    app.add_middleware(AssetCache)
    app.add_middleware(
        Access,
        accounts=studio.accounts,
        keys=studio.keys,
        on_page=page_seen.set,
        allowed_origins=studio.options.allowed_origins,
        root_path=root_path,
        features=studio.features,
    )
    if root_path:
        app.add_middleware(BelowPath, root_path=root_path)
    app.state.streams = OpenStreams()
    app.state.tabs = frozenset(studio.features.tab_names())
    app.add_middleware(EndedStreams, streams=app.state.streams)
    return app


def _warm_up_later(
    load: Callable[[], None],
    on_warm: Callable[[], object],
    page_seen: threading.Event,
    closing: threading.Event,
) -> None:
    """Warms up when the first page is out, and takes what is loaded out of the collector's sight.

    With torch and the engines there are 600,000 objects. A full collection looks at each of them,
    and everybody would wait 0.35 s for it, now and then.
    """
    if page_seen.wait(PAGE_SECONDS):
        closing.wait(SETTLE_SECONDS)
    if closing.is_set():
        return
    load()
    gc.collect()
    gc.freeze()
    if not closing.is_set():
        on_warm()  # models come and go, so they stay in the collector's sight
