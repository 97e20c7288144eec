"""The login page: one form, no Gradio, so that a stranger is sent nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from pipelines.core.errors import UserError
from studio.api.access import address_of, login_cookies, tab_query
from studio.api.dependencies import CurrentLanguage, CurrentStudio
from studio.core.accounts.accounts import GUEST, Accounts, Login
from studio.core.palette import SIGN_IN
from studio.core.replies import status_of
from studio.i18n import translate

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
                 border: 1px solid {frame}; }}
button {{ background: {button_fill}; color: {button_words}; border: 0; cursor: pointer; }}
[role=alert] {{ color: {alert_colour}; }}
@media (prefers-color-scheme: dark) {{ [role=alert] {{ color: {alert_at_night}; }} }}
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


router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class LoginForm:
    """The form as it answers one request, and the way into the studio.

    Attributes:
        accounts: who may come in.
        root_path: below which a proxy serves the studio.
        query: of the page that is wanted, with its ``?``; or empty.
        language: of whoever reads it.
    """

    request: Request
    accounts: Accounts
    root_path: str
    query: str
    language: str

    def admit(self, login: Login) -> Response:
        """Sends who has logged in to the page, with the cookies that prove it."""
        response = RedirectResponse(f"{self.root_path}/{self.query}", status_code=303)
        for name, value in login_cookies(self.accounts, login, self.request, self.root_path):
            response.headers.append(name, value)
        return response

    def page(self, name: str = "", error: UserError | None = None) -> HTMLResponse:
        """The form, with what was wrong where something was."""
        name = name or (GUEST if self.accounts.shared else "")
        alert = ""
        if error is not None:
            alert = f'<p role="alert">{escape(translate(error.message, self.language))}</p>'
        return HTMLResponse(
            PAGE.format(
                frame=SIGN_IN["frame"],
                button_fill=SIGN_IN["button"],
                button_words=SIGN_IN["words"],
                alert_colour=SIGN_IN["alert"],
                alert_at_night=SIGN_IN["alert_at_night"],
                language=self.language,
                query=self.query,
                alert=alert,
                name=escape(name, quote=True),
                name_label=translate("Name", self.language),
                password_label=translate("Password", self.language),
                button=translate("Log in", self.language),
                at_name="" if name else "autofocus",
                at_password="autofocus" if name else "",
            ),
            status_code=status_of(error) if error else 200,
            headers={"cache-control": "no-store"},
        )


async def login_form(
    request: Request, studio: CurrentStudio, language: CurrentLanguage
) -> LoginForm:
    """The form for the sender of a request."""
    root_path = studio.options.root_path
    return LoginForm(request, studio.accounts, root_path, tab_query(request), language)


CurrentForm = Annotated[LoginForm, Depends(login_form)]


@router.get("/login")
def show_form(request: Request, form: CurrentForm, key: str | None = None) -> Response:
    """The form; or, with the key of the terminal's link, the host's login."""
    if not form.accounts.needed or (request.state.owner is not None and key is None):
        return RedirectResponse(f"{form.root_path}/{form.query}", status_code=303)
    if key is None:
        return form.page()
    try:
        return form.admit(form.accounts.log_in_with_key(key))
    except UserError as error:
        return form.page(error=error)


@router.post("/login")
async def log_in(
    request: Request,
    form: CurrentForm,
    name: Annotated[str, Form()],
    password: Annotated[str, Form()],
) -> Response:
    accounts = form.accounts
    old = request.cookies.get(accounts.cookie_name)
    browser = request.cookies.get(accounts.device_cookie_name)
    check = (accounts.log_in, name, name, password, address_of(request), old, browser)
    try:
        return form.admit(await accounts.in_turn(*check))
    except UserError as error:
        return form.page(name, error)


@router.get("/logout")
def stay(studio: CurrentStudio) -> Response:
    """A link from elsewhere logs nobody out; Gradio's own page of this address is not ours."""
    return RedirectResponse(f"{studio.options.root_path}/", status_code=303)


@router.post("/logout")
def log_out(request: Request, studio: CurrentStudio) -> Response:
    accounts, root_path = studio.accounts, studio.options.root_path
    accounts.log_out(request.cookies.get(accounts.cookie_name))
    response = RedirectResponse(
        f"{root_path}/{'login' if accounts.needed else ''}", status_code=303
    )
    response.delete_cookie(
        accounts.cookie_name, path=root_path or "/", httponly=True, samesite="lax"
    )
    return response
