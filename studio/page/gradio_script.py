"""Gradio's scripts are sent changed where they do again and again what is once, or never end.

The components of the page lie behind Svelte's proxies, where each look at one costs a microsecond,
and there are a hundred at first, a thousand once all tabs have been opened. Each :class:`Change`
answers what Gradio's own text answers, sooner, or adds what the page's parts need. Where another
version of Gradio has written the text in another way, it is sent as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response


@dataclass(frozen=True)
class Change:
    """One place in one of the scripts ``gradio/templates/frontend/assets/{script}-*.js``."""

    script: str
    before: str
    after: str


# For each component the targets of all listeners were looked through. Of each listener only the
# first target counts that names the component.
ATTACHED_EVENTS = Change(
    "core",
    "find_attached_events(e,t){let n=t.filter(t=>t.targets.find(([t])=>t===e.id)).map(t=>{"
    "let n=t.targets.find(([t])=>t===e.id);return n?n[1]:null}).filter(Boolean);"
    "return e.props.shared_props.attached_events=n,e}",
    "find_attached_events(e,t){if(this.indexed!==t||this.indexedLength!==t.length){"
    "let n=new Map;for(let e of t){let t=new Set;for(let[r,i]of e.targets)"
    "t.has(r)||(t.add(r),i&&(n.has(r)||n.set(r,[]),n.get(r).push(i)))}"
    "this.indexed=t,this.indexedLength=t.length,this.index=n}"
    "return e.props.shared_props.attached_events=[...this.index.get(e.id)||[]],e}",
)
# Half the tree was searched for a component whenever a value or a status is read or written: for
# each listener at load, and for each output at each step of an event. Now the place where it was
# seen the last time is looked at first. Listeners to other listeners (``then``) ask for null.
SEARCH = Change(
    "core",
    "function Z(e,t){if(e.id===t)return e;if(e.children)for(let n of e.children){"
    "let e=Z(n,t);if(e)return e}return null}",
    "var places=new Map;function Z(e,t){if(t==null)return null;let n=places.get(t),r=e;"
    "if(n){for(let e of n)if(r=r.children?.[e],!r)break;if(r&&r.id===t)return r}"
    "return places.clear(),note(e,[]),n=places.get(t),n?n.reduce((e,t)=>e.children[t],e):null}"
    "function note(e,t){places.has(e.id)||places.set(e.id,t),"
    "e.children&&e.children.forEach((e,n)=>note(e,[...t,n]))}",
)
# The effect that rebuilds the page when the server's code was reloaded ran at first as well.
BUILT_ONCE = Change(
    "Blocks",
    "le(()=>{v(),oe(()=>{O.reload(",
    "let built=!1;le(()=>{if(v(),!built){built=!0;return}oe(()=>{O.reload(",
)
# The JavaScript of every listener was compiled, as often as it occurs.
COMPILED_LATER = Change(
    "Blocks",
    "function z(e){let t,n=!0,r=e.trim().replace(/;+$/,``);"
    "try{t=new L(`return (\\n${r}\\n);`)}catch{n=!1,t=new L(e)}"
    "return async(...e)=>{let r=await t(...e);",
    "function z(e){let t,n=!0,compile=()=>{let r=e.trim().replace(/;+$/,``);"
    "try{t=new L(`return (\\n${r}\\n);`)}catch{n=!1,t=new L(e)}};"
    "return async(...e)=>{t||compile();let r=await t(...e);",
)
# The configuration, which is read once and never changes, was put behind proxies of its own.
PLAIN_CONFIG = Change("Index", "R(M,S(G).get_url_config(),!0)", "R(M,S(G).get_url_config())")
# The clock of what an event waits for was wound in each frame for ever, and the page drawn anew for
# it, once its component had gone meanwhile.
CLOCK = Change(
    "statustracker",
    "function ze(){me(()=>{F(Pe,(performance.now()-w(de))/1e3),W&&ze()})}",
    "function ze(){me(()=>{F(Pe,(performance.now()-w(de))/1e3),W&&U!==null&&ze()})}",
)
# What assets/page/parts.js needs: the tree of components and the listeners, and a way to put what
# is fetched later into the tree, as it would be there had it come with the page.
DRAWN = Change(
    "Blocks",
    "O.rerender.bind(O),J,je,Pe,e=>{M(L,e,!0)});",
    "O.rerender.bind(O),J,je,Pe,e=>M(L,e,!0));window.atelier?.drawn?.(O,R);",
)
GRAFT = Change(
    "core",
    "rerender(e,t){let n=e.reduce(",
    "graft(e,t,n){let r=Z(this.root,t.id),i=new Map(e.map(e=>[e.id,e]));"
    "this.#n=[...this.#n,...n],this.prepare();"
    "let a={...r,children:t.children.map(e=>"
    "this.traverse(e,e=>this.create_node(e,i,!1,this.reactive_formatter)))};"
    "X(a,this.initial_tabs);let o=new Set,s=a.children.map(e=>this.traverse(e,["
    "e=>je(e,this.#r.api_url),e=>Me(e,o),e=>Pe(e,this.initial_tabs),"
    "e=>this.find_attached_events(e,this.#n),e=>Ne(e,o,this.#d)]));"
    "r.props.shared_props.visible||s.forEach(e=>Y(e,this.#d)),r.children=s}"
    "rerender(e,t){var n=e.reduce(",
)
GRAFTING = (DRAWN, GRAFT)
CHANGES = (ATTACHED_EVENTS, SEARCH, BUILT_ONCE, COMPILED_LATER, PLAIN_CONFIG, CLOCK, *GRAFTING)


@cache
def changed_scripts() -> dict[str, str]:
    """The texts of the scripts in which something is changed, by file name."""
    import gradio

    assets = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
    found = {}
    for script in {change.script for change in CHANGES}:
        for path in assets.glob(f"{script}-*.js"):
            own = path.read_text(encoding="utf-8")
            if (text := _patch(own)) != own:
                found[path.name] = text
    return found


def can_graft() -> bool:
    """Whether the browser can put parts into a page that is drawn."""
    scripts = changed_scripts().values()
    return all(any(change.after in text for text in scripts) for change in GRAFTING)


def _patch(text: str) -> str:
    for change in CHANGES:
        if text.count(change.before) == 1:
            text = text.replace(change.before, change.after)
    return text


def script_router() -> APIRouter:
    """The routes of the changed scripts, which come before Gradio's own."""
    router = APIRouter()
    for name in changed_scripts():
        router.add_api_route(f"/assets/{name}", send_script, include_in_schema=False)
    return router


async def send_script(request: Request) -> Response:
    """The changed script of the request's name."""
    text = changed_scripts()[request.url.path.rpartition("/")[2]]
    # Asked for each time: another version of the studio may change more of it.
    headers = {"cache-control": "private, no-cache"}
    return Response(text, media_type="text/javascript", headers=headers)
