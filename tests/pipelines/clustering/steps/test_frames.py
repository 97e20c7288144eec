from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from pipelines.clustering.steps import agglomerative, dbscan, gmm, kmeans
from pipelines.clustering.steps.frames import (
    FINENESS,
    MAX_FRAMES,
    MAX_POINTS,
    check_points,
    decimals_for,
    frame_numbers,
    make_frames,
)
from pipelines.core.errors import BadRequest, Stopped
from tests.pipelines.clustering.steps.sets import random_set

MEGABYTE = 1_000_000
NOISE = np.random.default_rng(0).uniform(-1000, 1000, (MAX_POINTS, 2))  # nothing to find: slow

LARGEST = {
    "kmeans": lambda: make_frames(NOISE, kmeans.steps(NOISE, 20, tol=0), "start"),
    "dbscan": lambda: make_frames(NOISE, dbscan.steps(NOISE, 60, 5)),
    "dbscan of one disc": lambda: make_frames(NOISE, dbscan.steps(NOISE, 5000, 5)),
    "agglomerative": lambda: make_frames(NOISE, agglomerative.steps(NOISE, "single"), "end"),
    "gmm": lambda: make_frames(NOISE, gmm.steps(NOISE, 10, tol=0, max_rounds=200), "start"),
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_animations_are_a_few_megabytes(name):
    made = LARGEST[name]()
    assert len(made["frames"]) <= MAX_FRAMES
    assert made["steps"] >= len(made["frames"]) > 20
    assert len(json.dumps(made, separators=(",", ":"))) < 4 * MEGABYTE


def test_frames_add_up_to_the_end_when_steps_are_left_out():
    X = NOISE[:1000]
    made = make_frames(X, dbscan.steps(X, 60, 5))
    labels = np.full(len(X), -1)
    for frame in made["frames"]:
        labels[frame["labels"]["at"]] = frame["labels"]["to"]
    *_, last = dbscan.steps(X, 60, 5)
    np.testing.assert_array_equal(labels, last.labels)
    assert made["steps"] == 1001
    assert [made["frames"][0]["number"], made["frames"][-1]["number"]] == [0, 1000]


def test_no_merge_is_lost_when_steps_are_left_out():
    X = NOISE[:400]
    made = make_frames(X, agglomerative.steps(X), "end")
    *_, last = agglomerative.steps(X)
    merges = [merge for frame in made["frames"] for merge in frame["merges"]]
    np.testing.assert_allclose(merges, last.merges, atol=10.0 ** -decimals_for(X))
    assert [len(frame["merges"]) for frame in made["frames"][-MAX_FRAMES // 2 :]] == [1] * 150


def test_all_steps_are_frames_when_they_are_few():
    X = random_set(1)
    steps = list(kmeans.steps(X, 3))
    made = make_frames(X, kmeans.steps(X, 3))
    assert [frame["number"] for frame in made["frames"]] == list(range(len(steps)))


@pytest.mark.parametrize("dense", ["start", "end", "everywhere"])
@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 12, 19, 20, 21, 1000])
def test_frames_are_few_in_order_and_have_both_ends(steps, dense):
    numbers = list(frame_numbers(steps, dense, limit=10))
    assert len(numbers) == min(steps, 10)
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, steps - 1)


def test_frames_are_single_steps_where_they_shall_be_dense():
    assert list(frame_numbers(100, "start", limit=8)) == [0, 1, 2, 3, 4, 36, 67, 99]
    assert list(frame_numbers(100, "end", limit=8)) == [0, 32, 63, 95, 96, 97, 98, 99]
    assert list(frame_numbers(100, "everywhere", limit=4)) == [0, 33, 66, 99]


def test_too_many_points_are_refused_before_any_work():
    def never():
        raise AssertionError("a step was taken")
        yield

    check_points(MAX_POINTS)
    with pytest.raises(BadRequest, match=r"2001 points .* at most 2000 are taken"):
        make_frames(np.zeros((MAX_POINTS + 1, 2)), never())


def test_stop_ends_the_work_at_the_next_step():
    stop = threading.Event()
    taken = []

    def watch():
        for step in dbscan.steps(NOISE, 60, 5):
            taken.append(step)
            if len(taken) == 3:
                stop.set()
            yield step

    with pytest.raises(Stopped):
        make_frames(NOISE, watch(), stop=stop)
    assert len(taken) == 3


@pytest.mark.parametrize("scale", [1e-250, 1e-7, 0.003, 1.0, 42.0, 5e8, 1e150])
def test_rounding_resolves_the_widest_side_and_little_more(scale):
    X = np.array([[0.0, 0.0], [scale, scale / 3]]) - 17 * scale
    step = 10.0 ** -decimals_for(X)
    assert scale / FINENESS / 10 < step <= scale / FINENESS * 1.0001


@pytest.mark.parametrize("value", [0.0, -3.7, 1e9])
def test_equal_points_are_rounded_by_their_size(value):
    X = np.full((5, 2), value)
    frame = make_frames(X, kmeans.steps(X, 1))["frames"][-1]
    assert frame["number"] == 3
    places = make_frames(X, kmeans.steps(X, 1))["frames"][0]["trail"][0][0]
    np.testing.assert_allclose(places, value, rtol=1e-4)
