"""What the clustering tab shows where something is missing: its listeners, without a page."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from gradio.utils import deep_hash

from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.data.sample_data import Dataset
from pipelines.core.errors import BadRequest, Busy, NotFound
from studio.core.accounts.accounts import Owner
from studio.features.clustering.forms.algorithm_choice import AlgorithmForm
from studio.features.clustering.forms.comparison import Comparing
from studio.features.clustering.plot.plot_scene import UNKNOWN, Scene
from studio.features.clustering.results import views
from studio.features.clustering.tab import ClusteringTab, _lay_out
from studio.page.widgets import Visitor

VISITOR = Visitor(Owner("ada", "ada", is_host=False), "en")
SKIPPED = gr.skip()


@pytest.mark.parametrize("why", [NotFound("It is gone."), BadRequest("All is noise.")])
def test_scores_and_files_are_there_where_no_picture_can_be_painted(why, monkeypatch):
    found = SimpleNamespace(job=SimpleNamespace(id="7"), centres=None, extra={},
                            request=SimpleNamespace(algorithm="dbscan"))  # fmt: skip

    def fail(found):
        raise why

    clusterings = SimpleNamespace(of=lambda owner, id: found, paint=fail)
    monkeypatch.setattr(views, "scores", lambda result, visitor, algorithm: "SCORES")
    job = SimpleNamespace(id="7", result={})
    drawn = views.drawn_result(SimpleNamespace(clusterings=clusterings), job, VISITOR)
    assert "SCORES" in drawn
    assert "labels.csv" in drawn
    assert str(why.message.template) in drawn


@pytest.fixture
def comparison(monkeypatch) -> Comparing:
    monkeypatch.setattr(Visitor, "of", classmethod(lambda cls, request: VISITOR))
    jobs = {"7": SimpleNamespace(id="7", request={"data": "a" * 32})}

    def get(owner, id):
        if owner != "ada" or id not in jobs:
            raise NotFound("There is none.")
        return jobs[id]

    tab = Comparing.__new__(Comparing)
    tab.studio = SimpleNamespace(
        jobs=SimpleNamespace(get=get),
        cluster_data=SimpleNamespace(get=lambda owner, id: SimpleNamespace(id=id, kind="made")),
    )
    return tab


def pick_algorithm(comparing: Comparing, job: str | None, scene: Scene) -> list:
    event = SimpleNamespace(_data={"algorithm": "dbscan"})
    return comparing._pick(job, scene, event, SimpleNamespace())


def test_a_picked_algorithm_is_shown_over_the_data_that_were_compared(comparison):
    scene, value = pick_algorithm(comparison, "7", Scene(data="b" * 32, centres=((1.0, 2.0),)))
    assert (scene.data, scene.labels, scene.algorithm) == ("a" * 32, "7", "dbscan")
    assert scene.centres == ()
    assert value == scene.to_json()


def test_nothing_is_picked_of_a_comparison_that_is_gone(comparison):
    assert pick_algorithm(comparison, None, Scene(data="b" * 32)) == [SKIPPED, SKIPPED]


def test_the_tab_opens_where_no_data_can_be_made():
    def make(owner, source):
        raise Busy("There is no room.")

    tab = ClusteringTab.__new__(ClusteringTab)
    tab.studio = SimpleNamespace(
        jobs=SimpleNamespace(list=lambda owner, **only: []),
        cluster_data=SimpleNamespace(make=make),
    )
    tab.form = SimpleNamespace(outputs=[1, 2], about=lambda *values: "ABOUT")
    tab.algorithm = SimpleNamespace(show=lambda name, values, visitor: [name])
    *_, said, _, scene, value = tab._open(VISITOR)
    assert "There is no room." in said
    assert scene == Scene()
    assert value == scene.to_json()


def test_centres_go_when_the_picture_becomes_another():
    scene, value = _lay_out(Scene(data="a" * 32, centres=((1.0, 2.0),)), "pca", 2, "standard")
    assert scene.scaling == "standard"
    assert scene.centres == ()
    assert value == scene.to_json()


def test_clicked_centres_are_asked_for_in_the_units_of_the_data():
    """Standardised, (1, 1) is one standard deviation from the mean: (0 + 10) / 2 + 5."""
    data = Dataset(np.array([[0.0, 0.0], [10.0, 20.0]]), None, ("x", "y"), "Two points")
    asked_of = []

    def dataset(owner, id):
        asked_of.append((owner, id))
        return data

    tab = ClusteringTab.__new__(ClusteringTab)
    tab.studio = SimpleNamespace(cluster_data=SimpleNamespace(dataset=dataset))
    given = {"start": "own", "clusters": 3}
    tab.algorithm = SimpleNamespace(fields=lambda name, values: dict(given))
    scene = Scene(data="a" * 32, scaling="standard", centres=((1.0, 1.0), (-1.0, 0.0)))
    tab.form = SimpleNamespace(inputs=["kind"])
    fields = tab._with_parameters([scene, 0, "kmeans", "kmeans", "made"], VISITOR)
    assert asked_of == [("ada", "a" * 32)]
    assert fields["parameters"]["clusters"] == 2
    assert np.allclose(fields["parameters"]["centres"], [[10, 20], [0, 10]])


# --- a radius to begin with -----------------------------------------------------------------------


@pytest.fixture
def algorithm(monkeypatch) -> AlgorithmForm:
    """On points 0, 1, 2 … apart by what the data set is called."""
    monkeypatch.setattr(Visitor, "of", classmethod(lambda cls, request: VISITOR))

    def dataset(owner, id):
        X = np.arange(40.0)[:, None] * float(id)
        return Dataset(X, None, ("x",), "Points in a row")

    form = AlgorithmForm(SimpleNamespace(cluster_data=SimpleNamespace(dataset=dataset)))
    with gr.Blocks():
        form.draw_choice()
        form.draw_parameters()
    return form


def propose_again(form: AlgorithmForm, eps: float, proposed: float | None, data: str) -> list:
    model = find("dbscan").parameters
    controls = [
        each if isinstance(each, str) else each.get("value")
        for each in form.parameters.show(model, {"eps": eps})
    ]
    given = form._propose_again(Scene(data=data), "none", "dbscan", proposed, None, *controls)
    eps, *updates = given
    names = [None, *form.parameters._names(model)]
    return [eps, {name: new for name, new in zip(names, updates, strict=True) if new != SKIPPED}]


def test_a_proposed_radius_follows_the_data_in_scale(algorithm):
    _, *shown = algorithm.begin("dbscan", Scene(data="1"), VISITOR)
    first = shown[-1]
    assert first >= 1
    eps, updates = propose_again(algorithm, first, first, "10")
    assert eps == pytest.approx(10 * first)
    assert updates == {"eps": eps}


@pytest.mark.parametrize(("eps", "proposed"), [(1.5, 2.0), (1.5, None)])
def test_a_radius_that_somebody_set_stays(algorithm, eps, proposed):
    assert propose_again(algorithm, eps, proposed, "10") == [SKIPPED, {}]


# --- the data that are asked about ----------------------------------------------------------------


@pytest.fixture
def tab() -> ClusteringTab:
    """Its controls describe the data set that its one control of the data names."""
    tab = ClusteringTab.__new__(ClusteringTab)
    tab.form = SimpleNamespace(
        inputs=["kind"],
        make=lambda values, visitor: values[0] and SimpleNamespace(id=values[0]),
    )
    given = {"start": "own", "clusters": 3}
    tab.algorithm = SimpleNamespace(fields=lambda name, values: dict(given))
    return tab


def data_request(tab: ClusteringTab, form: str | None, **scene) -> str:
    return tab._on_data([Scene(**scene), 7, "kmeans", form], VISITOR)["data"]


def test_what_the_controls_describe_is_asked_about_though_the_plot_shows_the_former(tab):
    assert data_request(tab, "new", data="old", described="old") == "new"
    assert data_request(tab, "old", data="old", described="old") == "old"


def test_what_was_picked_from_a_comparison_is_asked_about_while_no_control_is_moved(tab):
    assert data_request(tab, "old", data="compared", described="old") == "compared"
    assert data_request(tab, "new", data="compared", described="old") == "new"


def test_data_that_the_controls_do_not_describe_yet_are_not_replaced_by_the_former(tab):
    with pytest.raises(BadRequest, match="no data yet"):
        data_request(tab, None, data="old", described="old")


def test_pictures_that_came_since_are_not_looked_for_when_clusters_are_asked_for(tab):
    assert data_request(tab, "gallery", data="shown", described="before", thumbs=True) == "shown"


def test_centres_that_were_placed_on_former_data_are_not_used(tab):
    scene = Scene(data="old", described="old", centres=((1.0, 1.0),))
    with pytest.raises(BadRequest, match="No centres are placed"):
        tab._request_of([scene, 0, "kmeans", "kmeans", "new"], VISITOR)


# --- results beside their data --------------------------------------------------------------------


@pytest.mark.parametrize("shown", ["a", UNKNOWN])
def test_results_of_the_data_in_the_plot_stay_as_they_are(shown):
    job = SimpleNamespace(request={"data": "a"})
    assert views.beside_its_data(None, job, VISITOR, shown, "DRAWN") == "DRAWN"


@pytest.mark.parametrize("shown", ["b", None])
def test_results_of_other_data_are_said_to_be(shown):
    known = SimpleNamespace(title="<Moons>", points=1200)
    studio = SimpleNamespace(cluster_data=SimpleNamespace(get=lambda owner, id: known))
    job = SimpleNamespace(request={"data": "a"})
    html = views.beside_its_data(studio, job, VISITOR, shown, "DRAWN")
    assert "of other data: &lt;Moons&gt;, 1,200 points." in html
    assert '<div class="former">DRAWN</div>' in html


def test_results_of_data_that_are_gone_are_said_to_be():
    def get(owner, id):
        raise NotFound("There is none.")

    studio = SimpleNamespace(cluster_data=SimpleNamespace(get=get))
    job = SimpleNamespace(request={"data": "a"})
    html = views.beside_its_data(studio, job, VISITOR, "b", "DRAWN")
    assert "no longer there" in html


def test_a_scene_is_another_to_gradio_where_its_data_are():
    playing = Scene(data="a", animation={"algorithm": "kmeans"}, revision=3)
    assert deep_hash(playing) == deep_hash(Scene(data="a"))
    assert deep_hash(playing) != deep_hash(Scene(data="b"))
