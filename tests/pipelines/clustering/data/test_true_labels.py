"""A column of a table as true labels: read, named, bounded, never among the points."""

from __future__ import annotations

from threading import Event

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris

from pipelines.clustering.data import delimited
from pipelines.clustering.data.columns import ColumnChoice, TablePoints, pick
from pipelines.clustering.data.npz_files import Stored, load, save
from pipelines.clustering.data.sample_data import DatasetRequest, make
from pipelines.clustering.data.tables import look
from pipelines.clustering.data.true_labels import MAX_CLASSES
from pipelines.clustering.engine import run
from pipelines.clustering.requests import ClusterRequest, CompareRequest
from pipelines.core.errors import BadRequest


@pytest.fixture
def table(tmp_path):
    def write(content: str):
        path = tmp_path / "table.csv"
        path.write_text(content, encoding="utf-8")
        return look(path)

    return write


@pytest.fixture
def iris(tmp_path) -> pd.DataFrame:
    bunch = load_iris(as_frame=True)
    return bunch.data.assign(species=bunch.target_names[bunch.target])


def pick_columns(table, truth: str | None, *columns: str, **more) -> TablePoints:
    return pick(table, ColumnChoice(columns=columns, truth=truth, **more))


def classes(picked: TablePoints) -> list[str | None]:
    """The class of each point by name."""
    data = picked.data
    return [None if each < 0 else data.classes[each] for each in data.truth.tolist()]


def of(table, truth: str) -> list[str | None]:
    return classes(pick_columns(table, truth, "x"))


# --- against scikit-learn -------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_k_means_on_irises_agrees_with_their_species_as_scikit_learn_says(iris, tmp_path, ending):
    path = tmp_path / f"iris.{ending}"
    iris.to_csv(path, index=False) if ending == "csv" else iris.to_parquet(path)
    table = look(path)
    assert table.suggest_columns() == tuple(load_iris().feature_names)
    assert table.suggest_truth() == "species"
    found = pick(table, ColumnChoice(columns=table.suggest_columns(), truth="species"))
    assert np.array_equal(found.data.X, load_iris().data)
    assert (found.data.truth == load_iris().target).all()
    assert found.data.classes == ("setosa", "versicolor", "virginica")

    home = tmp_path / "home"
    save(home / "cluster_data" / f"{'0' * 32}.npz", Stored(found.data, found.rows))
    cache = type("Cache", (), {"home": home})
    request = ClusterRequest(data="0" * 32, parameters={"clusters": 3})
    *_, result = run(request, cache, Event())
    agreement = result.data["agreement"]
    labels = np.load(home / "clusterings" / result.data["folder"] / "labels.npy")
    species = iris["species"]
    assert agreement["ari"] == pytest.approx(0.73, abs=0.005)
    assert agreement["ari"] == pytest.approx(metrics.adjusted_rand_score(species, labels))
    assert agreement["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(species, labels))
    assert agreement["homogeneity"] == pytest.approx(metrics.homogeneity_score(species, labels))
    assert agreement["completeness"] == pytest.approx(metrics.completeness_score(species, labels))
    assert agreement["classes"] == ["setosa", "versicolor", "virginica"]
    counts = pd.crosstab(species, labels)[agreement["columns"]]
    assert agreement["confusion"] == counts.to_numpy().tolist()
    of_them = KMeans(3, n_init=10, random_state=0).fit(load_iris().data).labels_
    assert agreement["ari"] == pytest.approx(
        metrics.adjusted_rand_score(species, of_them), abs=0.01
    )

    *_, compared = run(
        CompareRequest(data="0" * 32, algorithms=("kmeans", "mixture"), clusters=3), cache, Event()
    )
    assert compared.data["rows"][0]["ari"] == pytest.approx(agreement["ari"])
    assert compared.data["rows"][1]["ari"] == pytest.approx(0.90, abs=0.02)


def test_the_names_of_irises_are_scikit_learns():
    assert make(DatasetRequest(name="iris")).classes == tuple(load_iris().target_names)


# --- what a class is ------------------------------------------------------------------------------


def test_texts_are_classes_in_the_order_of_the_alphabet_without_blanks_around_them(table):
    found = pick_columns(table("x,kind\n1,pear\n2, apple\n3,pear \n4,fig\n"), "kind", "x")
    assert found.data.classes == ("apple", "fig", "pear")
    assert found.data.truth.tolist() == [2, 0, 2, 1]
    assert found.data.truth.dtype == np.int32
    assert found.data.columns == ("x",)


def test_numbers_are_classes_in_their_order_however_they_are_written(table):
    found = pick_columns(table("x,k\n1,10\n2,9\n3,9.0\n4,2.5\n5,09\n6,-1\n"), "k", "x")
    assert found.data.classes == ("-1", "2.5", "9", "10")
    assert found.data.truth.tolist() == [3, 2, 2, 1, 2, 0]


def test_numbers_with_decimal_commas_are_read_as_such(table):
    assert of(table("x;k\n1,5;0,5\n2,5;1,0\n3,5;0,50\n"), "k") == ["0.5", "1", "0.5"]


def test_texts_that_look_like_numbers_stay_texts_in_a_column_of_texts(table):
    assert of(table("x,k\n1,01\n2,1\n3,A\n4,01\n"), "k") == ["01", "1", "A", "01"]


def test_a_label_that_is_no_number_among_many_is_a_class_of_its_own(table):
    rows = "".join(f"{row},{row % 2}\n" for row in range(60))
    found = of(table(f"x,k\n{rows}60,other\n"), "k")
    assert found[:2] == ["0", "1"]
    assert found[60] == "other"


def test_truth_values_are_classes(tmp_path, table):
    assert of(table("x,ill\n1,true\n2,false\n3,true\n"), "ill") == ["true", "false", "true"]
    path = tmp_path / "table.parquet"
    pd.DataFrame({"x": [1.0, 2, 3], "ill": [True, False, None]}).to_parquet(path)
    assert of(look(path), "ill") == ["True", "False", None]
    pd.DataFrame({"x": [1.0, 2, 3], "ill": [True, False, True]}).to_parquet(path)
    assert of(look(path), "ill") == ["True", "False", "True"]


def test_dictionaries_and_holes_of_parquet_are_read(tmp_path):
    path = tmp_path / "table.parquet"
    kinds = pd.Categorical(["b", "a", None, "b"], categories=["c", "b", "a"])
    codes = pd.array([7, None, 5, 7], dtype="Int64")
    pd.DataFrame({"x": [1.0, 2, 3, 4], "kind": kinds, "code": codes}).to_parquet(path)
    found = pick_columns(look(path), "kind", "x")
    assert found.data.classes == ("a", "b")  # a level of no row is no class
    assert classes(found) == ["b", "a", None, "b"]
    assert of(look(path), "code") == ["7", None, "5", "7"]


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "i2", "u1"])
def test_a_column_of_an_array_is_taken(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.array([[1, 2, 7], [3, 4, 3], [5, 6, 7]], dtype=dtype))
    found = pick_columns(look(tmp_path / "a.npy"), "column 3", "column 1", "column 2")
    assert found.data.X.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert classes(found) == ["7", "3", "7"]


def test_labels_are_the_same_over_many_chunks(table, monkeypatch):
    monkeypatch.setattr(delimited, "CHUNK_CELLS", 14)
    # In some chunks all are whole, in others there are holes: pandas reads these otherwise.
    labels = [
        ("", "3", "3.0", "12")[row * row % 4 if row > 40 else 1 + row % 3] for row in range(90)
    ]
    rows = "".join(f"{row / 7},{label}\n" for row, label in enumerate(labels))
    found = pick_columns(table(f"x,k\n{rows}"), "k", "x")
    assert found.data.classes == ("3", "12")
    assert classes(found) == [{"": None, "3.0": "3"}.get(each, each) for each in labels]


# --- rows -----------------------------------------------------------------------------------------


def test_rows_dropped_for_missing_values_drop_their_labels(table):
    found = pick_columns(table("x,z,kind\n1,5,b\n2,,only here\n3,6,a\n4,7,b\n"), "kind", "x", "z")
    assert found.rows.tolist() == [0, 2, 3]
    assert classes(found) == ["b", "a", "b"]
    assert found.data.classes == ("a", "b")


@pytest.mark.parametrize("missing", ["drop", "mean"])
def test_rows_without_a_label_are_kept_and_said(table, missing):
    found = pick_columns(table("x,kind\n1,a\n2,\n3,b\n4,?\n5,a\n"), "kind", "x", missing=missing)
    assert found.data.X.ravel().tolist() == [1, 2, 3, 4, 5]
    assert found.data.truth.tolist() == [0, -1, 1, -1, 0]
    assert [note.template.partition(":")[0] for note in found.notes] == [
        "{name} has the true labels, of {count} classes.",
        "{count} of {rows} points have no true label",
    ]
    assert found.notes[1].values == {"count": "2", "rows": "5"}


def test_without_true_labels_there_are_none(table):
    data = pick_columns(table("x,kind\n1,a\n2,b\n"), None, "x").data
    assert data.truth is data.classes is None


def test_what_is_kept_has_the_names(table, tmp_path):
    found = pick_columns(table("x,kind\n1,梨\n2,<b>\n"), "kind", "x")
    save(tmp_path / "x.npz", Stored(found.data, found.rows))
    again = load(tmp_path / "x.npz").data
    assert again.classes == found.data.classes == ("<b>", "梨")
    assert again.truth.tolist() == [1, 0]


def test_long_names_are_cut_and_told_apart(table):
    long = "a" * 300
    assert pick_columns(table(f"x,k\n1,{long}b\n2,{long}c\n"), "k", "x").data.classes == (
        "a" * 200,
        "a" * 200 + " (2)",
    )


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_too_many_classes_are_refused_with_the_limit(table, kind):
    cells = (np.arange(10_000) / 3).tolist() if kind == "numbers" else range(10_000)
    form = "{},{}\n" if kind == "numbers" else "{},no {}\n"
    rows = "".join(form.format(row % 7, each) for row, each in enumerate(cells))
    many = table(f"x,k\n{rows}")
    with pytest.raises(BadRequest, match=rf"'k' has more than {MAX_CLASSES} different values \('"):
        pick_columns(many, "k", "x")


def test_as_many_classes_as_are_allowed_are_taken(table):
    rows = "".join(f"{row},{row % MAX_CLASSES}\n" for row in range(300))
    assert len(pick_columns(table(f"x,k\n{rows}"), "k", "x").data.classes) == MAX_CLASSES
    rows += f"300,{MAX_CLASSES}\n"
    with pytest.raises(BadRequest, match=f"more than {MAX_CLASSES} different"):
        pick_columns(table(f"x,k\n{rows}"), "k", "x")


def test_the_help_tells_the_limit():
    assert f"at most {MAX_CLASSES} " in ColumnChoice.model_fields["truth"].description


@pytest.mark.parametrize(
    ("content", "truth", "sentence"),
    [
        ("x,k\n1,2\n2,3\n", "z", "no column 'z'"),
        ("x,k\n1,2\n2,3\n", "x", "'x' has the true labels, which are never clustered on"),
        ("x,k\n1,\n2,\n", "k", "'k' has no values"),
        ("x,k\n1,\n,b\n3,\n", "k", "No row of those that are clustered has a true label in 'k'"),
    ],
)
def test_true_labels_that_cannot_be_get_a_sentence(table, content, truth, sentence):
    with pytest.raises(BadRequest, match=sentence):
        pick_columns(table(content), truth, "x")


# --- what is suggested ----------------------------------------------------------------------------


def suggestions(table) -> tuple[tuple[str, ...], str | None]:
    return table.suggest_columns(), table.suggest_truth()


def test_columns_named_as_classes_are_suggested_as_truth_and_not_as_points(table):
    rows = "".join(f"{row / 9},{row % 3},{'abc'[row % 3]}\n" for row in range(60))
    assert suggestions(table(f"x,target,target_name\n{rows}")) == (("x",), "target_name")
    assert suggestions(table(f"width,Label,colour\n{rows}")) == (("width",), "Label")
    assert suggestions(table(f"width,y,colour\n{rows}")) == (("width",), "y")
    assert suggestions(table(f"宽度,类别,颜色\n{rows}")) == (("宽度",), "类别")


def test_places_measurements_and_lone_columns_are_no_suggested_truth(table):
    rows = "".join(f"{row / 9},{row % 3}\n" for row in range(60))
    assert suggestions(table(f"x,y\n{rows}")) == (("x", "y"), None)
    assert suggestions(table(f"width,height\n{rows}")) == (("width", "height"), None)
    many = "".join(f"{row % 7},{row / 7}\n" for row in range(60))
    assert suggestions(table(f"width,target\n{many}")) == (("width", "target"), None)
    assert suggestions(table("class\n1\n2\n1\n")) == (("class",), None)
