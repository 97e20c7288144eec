"""The one script of Gradio's page that is sent changed: a search in it took the square.

When the page is opened, Gradio looks through the targets of all listeners for each component
(``find_attached_events`` in ``gradio/templates/frontend/assets/core-*.js``), by Svelte's proxies:
740 × 370 looks, a fifth of the browser's time. Here an index is made once and asked instead; it
answers the same. Where another version of Gradio has written the search in another way, its script
is sent as it is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, Request, Response

SEARCH = (
    "find_attached_events(e,t){let n=t.filter(t=>t.targets.find(([t])=>t===e.id)).map(t=>{"
    "let n=t.targets.find(([t])=>t===e.id);return n?n[1]:null}).filter(Boolean);"
    "return e.props.shared_props.attached_events=n,e}"
)
# Of each listener only the first target counts that names the component.
INDEXED = (
    "find_attached_events(e,t){if(this.indexed!==t||this.indexedLength!==t.length){"
    "let n=new Map;for(let e of t){let t=new Set;for(let[r,i]of e.targets)"
    "t.has(r)||(t.add(r),i&&(n.has(r)||n.set(r,[]),n.get(r).push(i)))}"
    "this.indexed=t,this.indexedLength=t.length,this.index=n}"
    "return e.props.shared_props.attached_events=[...this.index.get(e.id)||[]],e}"
)


def find_script() -> tuple[str, str] | None:
    """The name of the script and its text with the index; None where the search is not in one."""
    import gradio

    assets = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
    for script in sorted(assets.glob("core-*.js")):
        text = script.read_text(encoding="utf-8")
        if text.count(SEARCH) == 1:
            return script.name, text.replace(SEARCH, INDEXED)
    return None


def script_router() -> APIRouter:
    """The route of the changed script, which comes before Gradio's own; none where it has none."""
    router = APIRouter()
    found = find_script()
    if found is None:
        return router
    name, text = found
    body = text.encode()
    headers = {"etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"', "cache-control": "no-cache"}

    @router.get(f"/assets/{name}", include_in_schema=False)
    def send_script(request: Request) -> Response:
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="text/javascript", headers=headers)

    return router
