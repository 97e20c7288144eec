"""One way to compare names: capitals, forms of letters and separators are no difference."""

from __future__ import annotations

import pytest

from pipelines.chat.catalog import ChatCatalog
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.lessons import lesson
from pipelines.clustering.requests import ClusterRequest, CompareRequest
from pipelines.core.errors import NotFound, Refused, UserError
from pipelines.core.matching import find_name, same_name
from pipelines.diffusion.samplers import Samplers
from pipelines.diffusion.styles import get_style, styles
from pipelines.preprocessors import registry

REMOTE = "backend: remote\nurl: http://127.0.0.1:9/v1\n"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Euler a", "Euler a"),
        ("EULER A", "Euler a"),
        ("euler_a", "Euler a"),
        (" Euler-A ", "Euler a"),
        ("cafe\u0301 LIGHTS", "café lights"),
        ("Ｅuler a", None),  # full-width letters are other letters
        ("Euler", "Euler"),
        ("x y", None),  # it may be either of two
        ("x-y", "x-y"),
        ("X_Y", "x_y"),
        ("", None),
    ],
)
def test_a_name_is_found_in_each_spelling(name, meant):
    assert find_name(name, ["Euler", "Euler a", "café lights", "x-y", "x_y"]) == meant


def test_names_of_other_separators_are_not_the_same_name():
    assert same_name("X-Y", ["x y", "x-y"]) == "x-y"
    assert same_name("X_Y", ["x y", "x-y"]) is None


def test_what_is_listed_by_name_is_found_in_other_spellings():
    assert registry.get(" CANNY").name == "canny"
    assert registry.get("Grid grey").name == "grid_grey"
    assert find("KMeans ").title == find("kmeans").title
    assert lesson("DBSCAN", "en") == lesson("dbscan", "en")
    request = ClusterRequest(data="blobs", algorithm="DBSCAN")
    assert request.algorithm == "dbscan"
    assert CompareRequest(data="blobs", algorithms=("KMeans", "Dbscan")).algorithms == (
        "kmeans",
        "dbscan",
    )
    assert Samplers().get("dpm++_2m").name == "DPM++ 2M"
    assert Samplers().schedule("KARRAS").name == "Karras"
    name = next(iter(styles()))
    assert get_style(name.upper().replace(" ", "_")).name == name


def test_a_chat_model_is_found_in_other_spellings_and_offered_by_likeness(tmp_path):
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "x.yaml").write_text(f"name: Café Llama 8B\n{REMOTE}", encoding="utf-8")
    catalog = ChatCatalog(tmp_path)
    for name in ("café llama 8b", "Cafe\u0301 Llama 8B", "CAFÉ-LLAMA-8B", "Café_Llama 8b"):
        assert catalog.get(name).name == "Café Llama 8B"
    with pytest.raises(NotFound, match="Café Llama 8B"):
        catalog.get("CAFÉ LAMA 8B")


def test_two_chat_models_of_one_name_are_both_listed_and_one_is_refused(tmp_path):
    (tmp_path / "chat").mkdir()
    for file, name in (("a", "Mine"), ("b", "MINE"), ("c", "mine ")):
        text = f"name: {name!r}\ntitle: {file}\n{REMOTE}"
        (tmp_path / "chat" / f"{file}.yaml").write_text(text, encoding="utf-8")
    entries = {entry.title: entry for entry in ChatCatalog(tmp_path).models()}
    assert entries["a"].refused is None
    assert "a.yaml is called Mine too" in str(UserError(entries["b"].refused.template,
                                                        **entries["b"].refused.values))  # fmt: skip
    assert entries["c"].refused is not None
    with pytest.raises(Refused, match=r"b\.yaml"):
        ChatCatalog(tmp_path).get("b")


def test_one_s_own_file_changes_a_shipped_chat_model_in_any_spelling(tmp_path):
    shipped = ChatCatalog(tmp_path).models()
    (tmp_path / "chat").mkdir()
    text = f"name: {shipped[0].name.upper()!r}\ntitle: changed\n{REMOTE}"
    (tmp_path / "chat" / "x.yaml").write_text(text, encoding="utf-8")
    now = ChatCatalog(tmp_path).models()
    assert len(now) == len(shipped)
    assert now[0].title == "changed"
    assert ChatCatalog(tmp_path).get(shipped[0].name).title == "changed"
