"""Features: those that are there, those that fail, and what tabs send to one another."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from pipelines.core.engine import Engine
from studio.app import open_studio
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.core.exchange import Exchange, Taker
from studio.core.feature import Feature, Features, Tab
from studio.core.services import Options
from studio.features import FEATURES, GROUP, load_features
from studio.features.settings.tab import SettingsTab
from studio.page.widgets import Visitor
from tests.packages import PALETTE, import_from, install

ME = Visitor(LOCAL_OWNER, "en")
BROKEN = {
    "absent": ("import brushes_of_nowhere", "No module named 'brushes_of_nowhere'"),
    "raising": ("raise RuntimeError('the brush is dry.\\nSecond line')", "the brush is dry"),
    "silent": ("assert False", "AssertionError"),
    "other": ("FEATURE = {'name': 'other'}", "is no Feature"),
    "twice": (
        "from studio.core.feature import Feature\nFEATURE = Feature(name='chat')",
        "chat has the name chat",
    ),
    "loras": (
        "from studio.core.feature import Feature\n"
        "FEATURE = Feature(name='loras', services={'loras': dict})",
        "the studio has the service loras",
    ),
    "words": (
        "from studio.core.feature import Feature\n"
        "FEATURE = Feature(name='words', services={'word_lists': dict})",
        "painting has the service word_lists",
    ),
    "unmade": (
        "from studio.core.feature import Feature\n"
        "def make(studio): raise OSError('the palette is locked')\n"
        "FEATURE = Feature(name='unmade', services={'paints': make}, keepers=('paints',))",
        "the palette is locked",
    ),
}


def test_packages_that_fail_are_named_with_their_errors_and_the_studio_runs_on(tmp_path, caplog):
    site = tmp_path / "site"
    install(site, "broken", {name: f"broken_{name}:FEATURE" for name in BROKEN})
    for name, (source, _) in BROKEN.items():
        (site / f"broken_{name}.py").write_text(source)
    with import_from(site):
        studio = open_studio(Options(tmp_path / "home", device="cpu", offline=True))
    try:
        assert {each.name for each in studio.features} == {*FEATURES}
        assert studio.features.failures.keys() == BROKEN.keys()
        told = SettingsTab(studio)._what_is_left_out(ME)
        for name, (_, reason) in BROKEN.items():
            assert f"the feature {name} is left out" in caplog.text
            assert reason in str(studio.features.failures[name].values["error"])
            assert f"The feature {name} is left out, because it has failed: " in told
        assert "Second line" not in told
        assert studio.submissions.submit(LOCAL_OWNER, "text_to_image", {"prompt": "x"})
    finally:
        studio.close()


def test_without_packages_nothing_is_left_out():
    assert load_features().failures == {}


def test_names_of_what_people_have_made_are_known_from_others():
    features = load_features()
    own = ("own:3f", "chat:own-chat:3f", "llama:own-chat:3f")
    assert [name for name in own if not features.is_own(name)] == []
    others = ("starter", "chat:smollm2-135m", "chat:own", "upscaler:own", "")
    assert [name for name in others if features.is_own(name)] == []


def test_the_example_of_the_readme_is_short_and_named_there():
    files = [path for path in PALETTE.rglob("*") if path.suffix in (".py", ".yaml", ".toml")]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    assert len([line for line in lines if line.strip()]) < 80
    assert "examples/atelier_palette" in (PALETTE.parents[1] / "README.md").read_text("utf-8")


class Small(BaseModel):
    """A request, and what its checks have seen."""

    seen: tuple[str, ...] = ()


class Smaller(Small):
    """A special one."""


def note(word: str):
    return lambda studio, owner, request: request.model_copy(update={"seen": (*request.seen, word)})


def test_a_request_passes_the_checks_of_its_bases_first():
    features = Features(
        [
            Feature(name="special", checks={Smaller: note("smaller")}),
            Feature(name="general", checks={Small: note("small"), BaseModel: note("any")}),
        ]
    )
    request = Smaller()
    for check in features.checks_of(Smaller):
        request = check(None, None, request)
    assert request.seen == ("any", "small", "smaller")
    assert len(features.checks_of(Small)) == 2


def test_features_may_not_share_kinds_of_jobs_or_tabs():
    class Page(Tab):
        id, label = "page", "Page"

    def entry(name: str, **parts) -> EntryPoint:
        feature = Feature(name=name, **parts)
        made = EntryPoint(name, "x", GROUP)
        vars(made)["load"] = lambda: feature
        return made

    engine = Engine("draw", Small, "nowhere")
    features = Features.load(
        [
            entry("one", tabs=(Page,), engines=(engine,)),
            entry("two", tabs=(Page,)),
            entry("three", engines=(engine,)),
        ]
    )
    assert [each.name for each in features] == ["one"]
    assert features.failures["two"].values["error"] == "one has the tab page"
    assert features.failures["three"].values["error"] == "one has the kind of job draw"


# --- what tabs send to one another -------------------------------------------------------------


def route_between(*takers: Taker):
    exchange, found = Exchange(), []
    exchange.offer("picture", found.append)
    exchange.offer("nobody takes this", found.append)
    for taker in takers:
        exchange.take("picture", taker)
    exchange.connect(["bar", "tabs"], lambda id: ["bar", f"show {id}"], "skip")
    (route,) = found
    return route


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        ("mug", ["skip", "skip", "mug", "bar", "show all"]),
        ("sketch", ["drawn sketch", "of 7", "skip", "bar", "show special"]),
        (None, ["skip", "skip", "skip", "skip", "skip"]),
    ],
)
def test_a_thing_goes_to_the_first_that_has_a_use_for_it(thing, expected):
    def draw(thing, visitor, values):
        return [f"drawn {thing}", f"of {values[0]}"] if thing == "sketch" else None

    general = Taker("all", ["c"], lambda thing, visitor, values: [thing])
    special = Taker("special", ["a", "b"], draw, inputs=["count"])
    route = route_between(general, special)
    assert (route.inputs, route.outputs) == (["count"], ["a", "b", "c", "bar", "tabs"])
    assert route.send(thing, ME, [7]) == expected


def test_all_takers_of_a_route_go_on_after_its_event():
    seen = []
    takers = [
        Taker(name, [], lambda *_: None, after=lambda event, name=name: seen.append((name, event)))
        for name in ("one", "two")
    ]
    route_between(*takers).follow("clicked")
    assert sorted(seen) == [("one", "clicked"), ("two", "clicked")]


def test_services_are_made_once_and_in_any_order():
    made = []

    def service(name: str, needs: str | None = None):
        def make(studio):
            made.append(name)
            return SimpleNamespace(name=name, needs=needs and getattr(studio, needs))

        return make

    first = Feature(name="first", services={"roof": service("roof", "wall")})
    second = Feature(name="second", services={"wall": service("wall")})
    from studio.core.services import Studio

    studio = Studio.__new__(Studio)
    studio.features = Features([first, second])
    assert studio.roof.needs is studio.wall
    assert made == ["roof", "wall"]
    with pytest.raises(AttributeError, match="no service door"):
        studio.door  # noqa: B018
