"""Routers are of modules, and two studios of one process share them and nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from studio.api import login, routes
from studio.app import open_studio
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.core.feature import Feature, Features
from studio.core.services import Options, Studio
from studio.page import parts


def app_of(studio: Studio) -> FastAPI:
    app = FastAPI()
    routes.install(app, studio)
    return app


def client_of(studio: Studio) -> TestClient:
    app = app_of(studio)

    async def as_local_owner(scope, receive, send) -> None:
        scope.setdefault("state", {}).update(owner=LOCAL_OWNER, api_key=None)
        await app(scope, receive, send)

    return TestClient(as_local_owner, base_url="http://studio/api/v1")


@pytest.fixture(scope="module")
def studios(tmp_path_factory) -> Iterator[list[Studio]]:
    homes = [tmp_path_factory.mktemp(name) for name in ("one", "other")]
    made = [open_studio(Options(home, device="cpu", offline=True)) for home in homes]
    yield made
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def clients(studios) -> list[TestClient]:
    return [client_of(each) for each in studios]


def test_what_is_sent_to_one_studio_is_not_in_the_other(clients):
    one, other = clients
    assert one.put("/wildcards", json={"name": "toys", "text": "mug"}).status_code == 200
    data = one.post("/cluster-data", json={"kind": "made", "name": "wine"}).json()
    chat = one.post("/chats", json={"models": ["smollm2-135m"]}).json()
    found = [
        (
            client.get("/wildcards").json()["wildcards"].count("toys"),
            client.get(f"/cluster-data/{data['id']}").status_code,
            client.get(f"/chats/{chat['id']}").status_code,
        )
        for client in (one, other)
    ]
    assert found == [(1, 200, 200), (0, 404, 404)]


def test_each_studio_has_plots_and_limits_of_its_own(studios, clients, monkeypatch):
    drawn: list[Any] = []
    draw = importlib.import_module("studio.features.clustering.data.api").plot_points
    monkeypatch.setattr(
        "studio.features.clustering.data.api.plot_points",
        lambda *arguments: drawn.append(arguments) or draw(*arguments),
    )
    for client in clients:
        data = client.post("/cluster-data", json={"kind": "made", "name": "iris"}).json()
        for _ in range(2):
            assert client.get(f"/cluster-data/{data['id']}/points").status_code == 200
    assert len(drawn) == 2  # each its own, once
    assert studios[0].cluster_plots is not studios[1].cluster_plots
    limits = [each.cluster_limits for each in studios]
    names = [*vars(limits[0])]
    assert {"data", "plots", "umap", "results", "animations"} == {*names}
    assert all(getattr(limits[0], name) is not getattr(limits[1], name) for name in names)


def test_each_app_watches_jobs_of_its_own_studio(studios):
    one, other = map(app_of, studios)
    assert one.state.watched_jobs is not other.state.watched_jobs
    assert (one.state.studio, other.state.studio) == tuple(studios)


def endpoints(found: Any) -> Iterator[Any]:
    for route in found:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from endpoints(inner.routes)
        elif (endpoint := getattr(route, "endpoint", None)) is not None:
            yield endpoint


def test_handlers_are_functions_of_modules(studios):
    app = app_of(studios[0])
    for router in (login.router, parts.router):
        app.include_router(router)
    own = [each for each in endpoints(app.routes) if each.__module__.startswith("studio.")]
    assert len(own) > 100
    assert [each for each in own if each.__closure__ or "." in each.__qualname__] == []


def test_a_feature_whose_routes_are_no_router_is_left_out(studios):
    class Other:
        features = Features(
            [
                Feature(name="earlier", routes=(lambda studio: None,)),  # as it was written once
                Feature(name="fine", routes=login.router),
            ]
        )

    studio: Any = Other()
    studio.jobs = studios[0].jobs
    app = app_of(studio)
    assert [each.name for each in studio.features] == ["fine"]
    assert "earlier" in studio.features.failures
    assert login.log_in in endpoints(app.routes)
