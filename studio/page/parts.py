"""The page is sent with the tab that it begins with; the others are fetched when they are opened.

Gradio sends all components and listeners of a page, and the browser makes and connects each of them
before anybody can type. On the server nothing is split: all pages share all components, and every
event has its function from the start. ``assets/page/parts.js`` is the browser's side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from gradio.routes import ORJSONResponse

from pipelines.core.errors import NotFound
from studio.page.cache import deliver
from studio.page.events import Page
from studio.page.gradio_script import can_graft

PATH = "/tabs/{tab}.json"
Config = dict[str, Any]

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Split:
    """A page's configuration in parts.

    Attributes:
        config: what is sent at first. Beside Gradio's own it has ``parts``: tab → the id of its
            component (root), of the listeners that fill it in (fills) and, of the tab that comes
            along, of all its listeners; ``part_of`` and ``states``: ids of components and of states
            that listeners elsewhere name → their tab.
        parts: tab → its components, layout and listeners.
    """

    config: Config
    parts: dict[str, Config]


def take_parts(page: Page) -> dict[str, bytes]:
    """Takes all tabs but the first out of what a mounted page sends; those, as JSON.

    Where the browser's script could not put them back, the page stays whole.
    """
    if not can_graft():
        return {}
    split = split_config(page.config, page.first_sights, page.fills)
    page.config = split.config
    return {name: ORJSONResponse(part).body for name, part in split.parts.items()}


def split_config(config: Config, first_sights: dict[int, int], fills: set[int]) -> Split:
    """The parts of a whole configuration, which stays as it is.

    Args:
        config: as :meth:`Page.get_config_file` gives it.
        first_sights: id of a listener that waits until a tab is first seen → the tab's component.
        fills: those of them that fill the tab in.
    """
    components = {each["id"]: each for each in _with_interactive(config)}
    nodes = dict(_tabs(config["layout"], components))
    place_of = {
        id: place for place, node in nodes.items() for id in _ids(node) if id != place
    }  # component → that of the tab it is in
    listeners: dict[int | None, list[Config]] = {}
    part_of_listener: dict[int, int | None] = {}
    for listener in config["dependencies"]:
        after, targets = listener["trigger_after"], [id for id, _ in listener["targets"]]
        if after is not None:
            place = part_of_listener[after]
        elif listener["id"] in first_sights:
            place = first_sights[listener["id"]]
        else:
            places = {place_of.get(id) for id in targets}
            place = places.pop() if len(places) == 1 else None
        part_of_listener[listener["id"]] = place
        listeners.setdefault(place, []).append(listener)

    names = {place: components[place]["props"]["id"] for place in nodes}
    first = _first(config["layout"], components)
    later = {place for place, name in names.items() if name != first}
    shown = [c for id, c in components.items() if place_of.get(id) not in later]
    sent = {id for place, own in listeners.items() if place not in later for id in _of(own, "id")}
    layout = _without(config["layout"], later)
    elsewhere = {
        id: names[place]
        for id, place in place_of.items()
        if any(
            id in {*each["inputs"], *each["outputs"]}
            for other, own in listeners.items()
            if other != place
            for each in own
        )
    }
    is_state = {id for id, each in components.items() if each["type"] == "state"}
    parts: dict[str, Config] = {
        names[place]: {
            "root": place,
            "fills": [id for id in _of(listeners.get(place, ()), "id") if id in fills],
        }
        for place in nodes
    }
    for place, name in names.items():
        if name == first:
            parts[name]["listeners"] = _of(listeners.get(place, ()), "id")
    return Split(
        config
        | {
            "components": shown,
            "dependencies": [each for each in config["dependencies"] if each["id"] in sent],
            "layout": layout,
            "page": {
                "": {"layout": layout, "components": _of(shown, "id"), "dependencies": [*sent]}
            },
            "parts": parts,
            "part_of": {str(id): name for id, name in elsewhere.items() if id not in is_state},
            "states": {str(id): name for id, name in elsewhere.items() if id in is_state},
        },
        {
            names[place]: {
                "components": [c for id, c in components.items() if place_of.get(id) == place],
                "layout": nodes[place],
                "dependencies": listeners.get(place, []),
            }
            for place in later
        },
    )


def _with_interactive(config: Config) -> list[Config]:
    """The components, each with whether it can be changed.

    Where its maker has not said so, Gradio's script decides: it asks whether any listener takes or
    sets the component's value (``ve`` in ``gradio/templates/frontend/assets/core-*.js``), and the
    parts of a page do not know one another's listeners.
    """
    taken = {id for each in config["dependencies"] for id in each["inputs"]}
    given = {id for each in config["dependencies"] for id in each["outputs"]}

    def can_be_changed(id: int, props: Config) -> bool:
        if isinstance(said := props.get("interactive"), bool):
            return said
        value = props.get("value")
        return id in taken or (id not in given and (value == [] or not value) and value != {})

    return [
        each | {"props": each["props"] | {"interactive": can_be_changed(each["id"], each["props"])}}
        for each in config["components"]
    ]


def _tabs(node: Config, components: dict[int, Config], bar: Config | None = None):
    """The id and the node of each tab that holds no further ones, of the bars in the address."""
    part = components.get(node["id"], {"type": "", "props": {}})
    bars = [each for each in node.get("children", ()) if _is_bar(components.get(each["id"]))]
    if bar is not None and not bars:
        yield node["id"], node
        return
    own = part if _is_bar(part) else None
    for child in node.get("children", ()):
        yield from _tabs(child, components, own)


def _is_bar(part: Config | None) -> bool:
    return (
        part is not None
        and part["type"] == "tabs"
        and "in-address" in (part["props"].get("elem_classes") or ())
    )


def _first(node: Config, components: dict[int, Config]) -> str | None:
    """The name of the tab that is seen where an address names none."""
    found = None
    for child in node.get("children", ()):
        part = components.get(child["id"])
        if not _is_bar(part):
            found = found or _first(child, components)
            continue
        for tab in child["children"]:
            name = components[tab["id"]]["props"]["id"]
            if name == part["props"]["selected"]:
                return _first(tab, components) or name
    return found


def _ids(node: Config) -> list[int]:
    return [node["id"], *(id for child in node.get("children", ()) for id in _ids(child))]


def _of(parts: Any, key: str) -> list[Any]:
    return [each[key] for each in parts]


def _without(node: Config, places: set[int]) -> Config:
    """The node with the places among those below it, which are empty."""
    if "children" not in node:
        return node
    children = [] if node["id"] in places else [_without(c, places) for c in node["children"]]
    return node | {"children": children}


@router.get(PATH, include_in_schema=False)
def send_part(tab: str, request: Request) -> Response:
    """A tab's part; those of the app's page are in its state."""
    parts: dict[str, bytes] = request.app.state.parts
    if tab not in parts:
        raise NotFound("There is nothing at {path}.", path=request.url.path)
    return deliver(parts[tab], request.headers, "application/json")
