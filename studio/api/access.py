"""What every request passes before it reaches the page or the API: who sends it, and may they.

One ASGI middleware in front of everything, Gradio's own routes included, so that nothing is open by
being forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from urllib.parse import SplitResult, urlsplit

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.core.errors import Busy, NotFound, Refused, UserError
from studio.api import gradio_guard
from studio.api.cross_origin import headers_for, is_foreign, is_preflight, preflight
from studio.api.request_heads import check_head
from studio.core.accounts.accounts import (
    LOCAL_OWNER,
    Accounts,
    Login,
    NotLoggedIn,
    Owner,
    basic_name,
    basic_password,
)
from studio.core.accounts.keys import PREFIX as KEY_PREFIX
from studio.core.accounts.keys import ApiKey, Keys
from studio.core.accounts.sessions import DEVICE_SECONDS, SESSION_SECONDS
from studio.core.feature import Features, ForeignApi, Upload
from studio.core.replies import MethodNotAllowed, Refusal, TooLarge, error_body, status_of
from studio.i18n import language_of_request

_log = logging.getLogger(__name__)

API = "/api/v1"
TAB = "tab"  # the parameter of the page's address
BELOW_ROOT = "api/v1"  # in answers, for those who came by the path of a proxy
UPLOADS: dict[str, Upload | int] = {  # the platform's
    f"{API}/(pictures/read-settings|inputs)": Upload.FILE,
    gradio_guard.UPLOAD: Upload.LARGE,
}

MAX_JSON_BYTES = 1_000_000
MAX_LOGIN_BYTES = 20_000  # a name and a password, however they are written
STRANGER_SECONDS = 60.0
MAX_UPLOAD_BYTES = 50_000_000
# SDXL's LoRA at rank 256, a zip of photos; streamed to the disk, never held in memory.
MAX_LARGE_UPLOAD_BYTES = 1_000_000_000

OPEN_PATHS = {"/login", "/robots.txt", "/favicon.ico", f"{API}/health", "/health"}
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

OWN_ROUTES = re.compile(
    r"/api/v1/.+|/health|/tabs/[\w-]+\.json|/scripts/(\w+/){0,2}\w+\.js"
    r"|/pictures/[\w-]+\.png|/thumbnails/[\w-]+\.webp|/(login|logout|robots\.txt)"
)

PAGES = {"/", "/login"}  # the only answers that are documents with scripts of ours
# What a browser may show where it is asked for. Anything else is saved, not opened.
SHOWN_TYPES = re.compile(
    r"(?:image|font)/[\w.+-]+|text/(?:css|javascript|plain|event-stream)"
    r"|application/(?:javascript|json|manifest\+json)"
)
ASSETS = re.compile(r"/(theme\.css|favicon\.ico|manifest\.json|(assets|static|scripts)/.+)")
MAX_LOGGED_ORIGINS = 20  # refused ones; anybody may make up more

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-opener-policy": "same-origin",
}
# Gradio's page needs inline scripts and styles. Nothing is fetched from elsewhere, so that the
# page works offline and tells nobody who is looking at it.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self'"
)
# What is no page of ours can do nothing, even where a browser takes it for one.
OTHER_POLICY = "default-src 'none'; sandbox; frame-ancestors 'self'"


class Access:
    """ASGI middleware: knows the sender, refuses strangers, foreign pages and oversized bodies.

    The sender's :class:`Owner` is then at ``request.state.owner``, and the API key that the request
    came with, or None, at ``request.state.api_key``.

    Args:
        app: what is protected.
        accounts: who may come in.
        keys: of programs that come in under ``/v1``.
        on_page: called after each full answer to ``GET /``.
        allowed_origins: whose pages may use the programs' doors, as browsers write them.
        root_path: below which a proxy serves the studio.
        features: what there is to be asked for.
    """

    def __init__(
        self,
        app: ASGIApp,
        accounts: Accounts,
        keys: Keys,
        on_page: Callable[[], None],
        allowed_origins: Collection[str] = (),
        root_path: str = "",
        features: Features | None = None,
    ) -> None:
        self.app = app
        self.features = features if features is not None else Features()
        self._sizes = uploads_of(self.features)
        self.accounts = accounts
        self.keys = keys
        self.on_page = on_page
        self.allowed_origins = frozenset(allowed_origins)
        self.root_path = root_path
        self._refused_origins: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        connection = HTTPConnection(scope)
        login: Login | None = None
        key: ApiKey | None = None
        visiting = self._visiting_origin(connection)
        if self.allowed_origins and self.is_program_door(scope["path"]):
            send = _with_headers(send, scope["path"], headers_for(visiting).items())
        try:
            check_head(connection.headers)
            self._check_host(connection.headers)
            if visiting is None:
                self._check_origin(connection)
            elif is_preflight(connection):
                await preflight(connection)(scope, receive, _with_headers(send, scope["path"]))
                return
            self._check_size(connection)
            if (token := self._api_key(connection)) is not None:
                # Looked up in the database, which may be busy for a moment.
                key = await anyio.to_thread.run_sync(self.keys.owner_of_key, token)
                owner = self.accounts.owner_of_key(key.owner)
            else:
                owner, login = await self._sender(connection, visiting is not None)
        except UserError as error:
            response = self._refusal(connection, error)
            await response(scope, receive, _with_headers(send, scope["path"]))
            return
        path = scope["path"]
        cookies = []
        if login and visiting is None:
            cookies = login_cookies(self.accounts, login, connection, self.root_path)
        send = _with_headers(send, path, cookies)
        if owner is None and path not in OPEN_PATHS:
            await self._stranger(connection)(scope, receive, send)
            return
        known = OWN_ROUTES.fullmatch(path) or self._foreign_api(connection)
        if not (known or gradio_guard.is_served(scope["method"], path)):
            await self._refusal(connection, _not_here(scope["method"], path))(scope, receive, send)
            return
        scope.setdefault("state", {}).update(owner=owner, api_key=key)
        language = language_of_request(connection)
        receive = _limit_body(receive, self._limit(path), language)
        if owner is None:
            await self._serve_stranger(scope, receive, send)
        else:
            await self.app(scope, receive, send)
        if path == "/":
            self.on_page()

    async def _sender(
        self, connection: HTTPConnection, visiting: bool
    ) -> tuple[Owner | None, Login | None]:
        """Who sent this; and the new login where an Authorization header made one.

        Args:
            visiting: a page of another origin did; who is logged in in its browser does not count.
        """
        if not self.accounts.needed:
            return LOCAL_OWNER, None
        cookie = None if visiting else connection.cookies.get(self.accounts.cookie_name)
        owner = self.accounts.owner_by_cookie(cookie)
        header = connection.headers.get("authorization")
        if owner is not None or header is None or connection.scope["path"] == "/login":
            return owner, None
        if self._foreign_api(connection) and _bearer(header) is not None:
            return None, None  # a program's made-up key: what a stranger is told says more
        login = self.accounts.recall_basic(header, cookie)
        if login is None:
            login = await self.accounts.in_turn(
                self.accounts.log_in_basic,
                basic_name(header),
                header,
                address_of(connection),
                cookie,
                None if visiting else connection.cookies.get(self.accounts.device_cookie_name),
            )
        return login.owner, login

    def _check_host(self, headers: Headers) -> None:
        """Without a login, only a page under a local name may be this page (DNS rebinding)."""
        if self.accounts.needed:
            return
        name = _parts("//" + headers.get("host", "")).hostname
        if name not in LOOPBACK_NAMES:
            raise Refused(
                "This studio answers to localhost only, not to {name}. Start it with --host or "
                "--share to reach it from elsewhere, or with --auth behind a proxy.",
                name=name or "?",
            )

    def _visiting_origin(self, connection: HTTPConnection) -> str | None:
        """The other origin whose page sends this to a programs' door by the host's leave."""
        origin = connection.headers.get("origin")
        if origin not in self.allowed_origins or not self.is_program_door(connection.scope["path"]):
            return None
        return origin if is_foreign(origin, connection) else None

    def _check_origin(self, connection: HTTPConnection) -> None:
        """Refuses what another site's page makes a browser send here (CSRF)."""
        headers = connection.headers
        if connection.scope["method"] in SAFE_METHODS and ASSETS.fullmatch(
            connection.scope["path"]
        ):
            return  # the same for everybody, and module scripts come with an Origin
        origin = headers.get("origin")
        if origin is not None and is_foreign(origin, connection):
            expected = headers.get("x-forwarded-host") or headers.get("host", "?")
            self._log_foreign(origin, expected)
            if self.is_program_door(connection.scope["path"]) and origin != "null":
                raise Refused(
                    "Requests from other sites' pages are not taken: this one is of a page at "
                    "{origin}, and the studio is at {host}. To let pages there use the API, start "
                    "the studio with --allow-origin {origin}. If it is the studio's own page, a "
                    "proxy in between must pass the browser's address on; in nginx: "
                    "proxy_set_header Host $http_host;",
                    origin=origin[:100],
                    host=expected[:100],
                )
            raise Refused(
                "Requests from other sites' pages are not taken: this one is of a page at "
                "{origin}, and the studio is at {host}. A proxy in between must pass the browser's "
                "address on; in nginx: proxy_set_header Host $http_host;",
                origin=origin[:100],
                host=expected[:100],
            )
        if (
            origin is None
            and headers.get("sec-fetch-site") in ("cross-site", "same-site")
            and headers.get("sec-fetch-mode") != "navigate"
        ):
            raise Refused("Requests from other sites' pages are not taken.")

    def _log_foreign(self, origin: str, expected: str) -> None:
        """Tells the host once of an Origin that was refused, and of few in all."""
        if len(self._refused_origins) < MAX_LOGGED_ORIGINS and origin not in self._refused_origins:
            self._refused_origins.add(origin)
            _log.warning(
                "a request of a page at %.100s was refused: the studio is called %.100s. If that "
                "is the studio's own page, let the proxy before it pass the address on "
                "(nginx: proxy_set_header Host $http_host;)",
                ascii(origin)[1:-1],
                ascii(expected)[1:-1],
            )

    def _check_size(self, connection: HTTPConnection) -> None:
        length = connection.headers.get("content-length", "0")
        path = connection.scope["path"]
        limit = self._limit(path)
        if length.isdigit() and int(length) > limit:
            raise TooLarge(limit)

    async def _serve_stranger(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is open to everybody, within a time: who sends slowly holds a place of others."""
        begun = False

        async def note_begin(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(STRANGER_SECONDS):
                await self.app(scope, receive, note_begin)
        except TimeoutError:
            if not begun:
                await JSONResponse(
                    error_body(Busy("This took too long. Try again.")), status_code=408
                )(scope, receive, send)

    def _stranger(self, connection: HTTPConnection) -> Response:
        wants_page = "text/html" in connection.headers.get("accept", "")
        if (api := self._foreign_api(connection)) is not None:
            return self._refusal(connection, NotLoggedIn(api.stranger))
        if wants_page and connection.scope["method"] in SAFE_METHODS:
            login = f"{self.root_path}/login{tab_query(connection)}"
            return RedirectResponse(login, status_code=303)
        error = NotLoggedIn("Log in first, or send name and password by HTTP Basic.")
        return self._refusal(connection, error)

    def is_program_door(self, path: str) -> bool:
        """Whether other programs come in by this path."""
        return path.startswith(f"{API}/") or self.features.foreign_api(path) is not None

    def _foreign_api(self, connection: HTTPConnection) -> ForeignApi | None:
        return self.features.foreign_api(connection.scope["path"])

    def _api_key(self, connection: HTTPConnection) -> str | None:
        """The API key of this studio, right or wrong, that a program's request came with."""
        if self._foreign_api(connection) is None:
            return None
        header = connection.headers.get("authorization", "")
        token = _bearer(header)
        if token is None and header[:6].lower() == "basic ":
            # Programs that know of names and passwords alone send a key as the password.
            with contextlib.suppress(NotLoggedIn):
                token = basic_password(header)
        return token if token is not None and token.startswith(KEY_PREFIX) else None

    def _limit(self, path: str) -> int:
        """The bytes that are taken at a path."""
        if (size := self._sizes.of(path)) is not None:
            return {Upload.FILE: MAX_UPLOAD_BYTES, Upload.LARGE: MAX_LARGE_UPLOAD_BYTES}.get(
                size, size
            )
        if (api := self.features.foreign_api(path)) is not None:
            return api.max_bytes
        return MAX_LOGIN_BYTES if path == "/login" else MAX_JSON_BYTES

    def _refusal(self, connection: HTTPConnection, error: UserError) -> Response:
        language = language_of_request(connection)
        if (api := self._foreign_api(connection)) is not None:
            return api.refuse(error, language)
        response = JSONResponse(error_body(error, language), status_code=status_of(error))
        if isinstance(error, MethodNotAllowed):
            response.headers["allow"] = error.allowed
        if isinstance(error, NotLoggedIn) and connection.scope["path"].startswith(API):
            response.headers["www-authenticate"] = 'Basic realm="Atelier", charset="UTF-8"'
        return response


class Uploads:
    """Where more than JSON may be sent.

    Args:
        sizes: pattern of a path → the bytes that are taken there.
    """

    def __init__(self, sizes: Mapping[str, Upload | int]) -> None:
        self._sizes = [(re.compile(pattern), size) for pattern, size in sizes.items()]

    def of(self, path: str) -> Upload | int | None:
        """What is taken at a path; None where it is JSON alone."""
        return next((size for pattern, size in self._sizes if pattern.fullmatch(path)), None)


def uploads_of(features: Features) -> Uploads:
    """The platform's and those of the features."""
    theirs = (each.uploads.items() for each in features)
    brought = {f"{API}/(?:{path})": size for pairs in theirs for path, size in pairs}
    for api in (api for each in features for api in each.foreign_apis):
        brought |= {f"{api.prefix}(?:{path})": size for path, size in api.uploads.items()}
    return Uploads(UPLOADS | brought)


def tab_query(connection: HTTPConnection) -> str:
    """``?tab=…`` with the tab that an address names; "" where it names none of the page's.

    Whoever sends somebody an address may write anything into it: nothing else of it is passed on.
    """
    named = connection.query_params.get(TAB)
    return f"?{TAB}={named}" if named in connection.app.state.tabs else ""


def login_cookies(
    accounts: Accounts, login: Login, connection: HTTPConnection, root_path: str = ""
) -> list[tuple[str, str]]:
    """The ``Set-Cookie`` headers that keep a login, and let the browser be known at the next."""
    response = Response()
    cookies = [(accounts.cookie_name, login.cookie, SESSION_SECONDS)]
    if login.device is not None:
        cookies.append((accounts.device_cookie_name, login.device, DEVICE_SECONDS))
    for name, value, seconds in cookies:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=root_path or "/",
            httponly=True,
            samesite="lax",
            secure=is_https(connection),
        )
    return [(name, value) for name, value in response.headers.items() if name == "set-cookie"]


def is_https(connection: HTTPConnection) -> bool:
    """Whether the browser speaks https, be it to the share tunnel or a proxy before us."""
    forwarded = connection.headers.get("x-forwarded-proto", "").split(",")[0].strip()
    return (forwarded or connection.url.scheme) == "https"


def address_of(connection: HTTPConnection) -> str:
    """The peer's address. Forwarded headers are not believed: anyone can write them."""
    return connection.client.host if connection.client else "?"


def _bearer(header: str) -> str | None:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # such as an unclosed bracket
        return urlsplit("")


def _limit_body(receive: Receive, limit: int, language: str) -> Receive:
    """``receive`` that counts: a body without Content-Length is held to the limit as well."""
    taken = 0

    async def receive_counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise Refusal(TooLarge(limit), language)
        return message

    return receive_counted


def _with_headers(send: Send, path: str, extra: Iterable[tuple[str, str]] = ()) -> Send:
    extra = tuple(extra)

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            is_page = path in PAGES
            if headers.get("content-type", "").startswith("text/event-stream"):
                headers.setdefault("x-accel-buffering", "no")  # nginx would hold events back
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers["content-security-policy"] = PAGE_POLICY if is_page else OTHER_POLICY
            media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
            if not is_page and media_type and not SHOWN_TYPES.fullmatch(media_type):
                headers.setdefault("content-disposition", "attachment")
            for name, value in extra:
                headers.append(name, value)
        await send(message)

    return sender


def _not_here(method: str, path: str) -> UserError:
    if allowed := gradio_guard.methods_of(path):
        return MethodNotAllowed(method[:100], path[:100], allowed)
    return NotFound("There is nothing at {path}.", path=path[:100])
