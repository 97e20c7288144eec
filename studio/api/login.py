"""The login page: one form, no Gradio, so that a stranger is sent nothing else."""

from __future__ import annotations

from html import escape
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from pipelines.core.errors import UserError
from studio.api.access import address_of, login_cookies, tab_query
from studio.core.accounts.accounts import GUEST, Accounts, Login
from studio.core.replies import status_of
from studio.i18n import language_of_request, translate

PAGE = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Atelier</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ display: grid; place-items: center; min-height: 90vh; margin: 1rem; }}
form {{ display: grid; gap: .75rem; width: min(22rem, 100%); }}
label {{ display: grid; gap: .25rem; }}
input, button {{ font: inherit; padding: .6rem .75rem; border-radius: .5rem;
                 border: 1px solid #8888; }}
button {{ background: #c2410c; color: #fff; border: 0; cursor: pointer; }}
[role=alert] {{ color: #b91c1c; }}
@media (prefers-color-scheme: dark) {{ [role=alert] {{ color: #fca5a5; }} }}
</style>
<form method="post" action="login{query}">
<h1>Atelier</h1>
{alert}
<label>{name_label}<input name="name" value="{name}" autocomplete="username"
 required {at_name}></label>
<label>{password_label}<input name="password" type="password" autocomplete="current-password"
 required {at_password}></label>
<button>{button}</button>
</form>
</html>
"""


def router(accounts: Accounts, root_path: str = "") -> APIRouter:
    """``/login`` and ``/logout``.

    Args:
        root_path: below which a proxy serves the studio.
    """
    home = f"{root_path}/"
    routes = APIRouter(include_in_schema=False)

    @routes.get("/login")
    def form(request: Request, key: str | None = None) -> Response:
        """The form; or, with the key of the terminal's link, the host's login."""
        if not accounts.needed or (request.state.owner is not None and key is None):
            return RedirectResponse(home + tab_query(request), status_code=303)
        if key is None:
            return page(request)
        try:
            return admit(request, accounts.log_in_with_key(key))
        except UserError as error:
            return page(request, error=error)

    @routes.post("/login")
    async def log_in(
        request: Request, name: Annotated[str, Form()], password: Annotated[str, Form()]
    ) -> Response:
        old = request.cookies.get(accounts.cookie_name)
        browser = request.cookies.get(accounts.device_cookie_name)
        check = (accounts.log_in, name, name, password, address_of(request), old, browser)
        try:
            return admit(request, await accounts.in_turn(*check))
        except UserError as error:
            return page(request, name=name, error=error)

    @routes.get("/logout")
    def stay() -> Response:
        """A link from elsewhere logs nobody out; Gradio's own page of this address is not ours."""
        return RedirectResponse(home, status_code=303)

    @routes.post("/logout")
    def log_out(request: Request) -> Response:
        accounts.log_out(request.cookies.get(accounts.cookie_name))
        response = RedirectResponse(
            f"{root_path}/login" if accounts.needed else home, status_code=303
        )
        response.delete_cookie(
            accounts.cookie_name, path=root_path or "/", httponly=True, samesite="lax"
        )
        return response

    def admit(request: Request, login: Login) -> Response:
        response = RedirectResponse(home + tab_query(request), status_code=303)
        for name, value in login_cookies(accounts, login, request, root_path):
            response.headers.append(name, value)
        return response

    def page(request: Request, name: str = "", error: UserError | None = None) -> HTMLResponse:
        language = language_of_request(request)
        name = name or (GUEST if accounts.shared else "")
        alert = f'<p role="alert">{escape(translate(error.message, language))}</p>' if error else ""
        return HTMLResponse(
            PAGE.format(
                language=language,
                query=tab_query(request),
                alert=alert,
                name=escape(name, quote=True),
                name_label=translate("Name", language),
                password_label=translate("Password", language),
                button=translate("Log in", language),
                at_name="" if name else "autofocus",
                at_password="autofocus" if name else "",
            ),
            status_code=status_of(error) if error else 200,
            headers={"cache-control": "no-store"},
        )

    return routes
