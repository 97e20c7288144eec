from __future__ import annotations

import threading

import pytest
from PIL import Image, ImageDraw

from pipelines.annotators import classical
from pipelines.annotators.maps import MapCache
from pipelines.errors import BadRequest
from pipelines.events import Progress
from tests.pipelines.annotators.conftest import cache_in


@pytest.fixture
def made(monkeypatch):
    """The pictures that were really read."""
    pictures, annotate = [], classical.annotate

    def counted(picture, parameters, weights):
        pictures.append(picture)
        return annotate(picture, parameters, weights)

    monkeypatch.setattr(classical, "annotate", counted)
    return pictures


@pytest.fixture
def read(tmp_path):
    def run(maps: MapCache, picture: Image.Image, name: str = "canny", **parameters):
        cache = cache_in(tmp_path, offline=True)
        return list(maps.get_or_make(name, picture, parameters, cache, threading.Event()))

    return run


def test_the_same_picture_is_read_once(read, made, photo):
    maps = MapCache()
    first, second = read(maps, photo), read(maps, photo.copy(), low=100)  # 100 is the default
    assert len(made) == 1
    assert isinstance(first[0], Progress)
    assert len(second) == 1
    assert first[-1].tobytes() == second[-1].tobytes()


def test_other_pixels_size_annotator_or_parameters_are_read_anew(read, made, photo):
    maps = MapCache()
    changed = photo.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    wide, tall = Image.new("RGB", (8, 4)), Image.new("RGB", (4, 8))  # the same bytes
    for picture in (photo, changed, wide, tall):
        read(maps, picture)
    read(maps, photo, low=10)
    read(maps, photo, "scribble")
    assert len(made) == 6


def test_a_kept_map_is_safe_from_who_draws_on_it(read, made, photo):
    maps = MapCache()
    for _ in range(2):
        taken = read(maps, photo)[-1]
        original = taken.tobytes()
        ImageDraw.Draw(taken).rectangle((0, 0, 50, 50), fill="red")
    assert read(maps, photo)[-1].tobytes() == original
    assert len(made) == 1


def test_the_longest_unused_goes_when_the_budget_is_full(read, made):
    pictures = [Image.new("RGB", (10, 10), (shade, 0, 0)) for shade in range(4)]
    maps = MapCache(budget_bytes=3 * 300)
    for picture in (*pictures[:3], pictures[0], pictures[3]):  # the second is the oldest now
        read(maps, picture)
    assert len(made) == 4
    for picture in (pictures[0], pictures[2], pictures[3]):
        read(maps, picture)
    assert len(made) == 4
    read(maps, pictures[1])
    assert len(made) == 5


def test_a_map_larger_than_the_budget_is_made_but_not_kept(read, made, photo):
    maps = MapCache(budget_bytes=100)
    assert read(maps, photo)[-1].size == photo.size
    read(maps, photo)
    assert len(made) == 2


def test_two_threads_at_once_get_the_same_map(read, made, photo):
    maps, results = MapCache(), []
    threads = [
        threading.Thread(target=lambda: results.append(read(maps, photo)[-1].tobytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 4
    assert len(set(results)) == 1


def test_a_wrong_parameter_is_refused_here_too(read, photo):
    with pytest.raises(BadRequest, match="at most 255"):
        read(MapCache(), photo, low=300)
