"""Scores worked by hand, and the judge's reading of maps made by hand."""

import cv2
import numpy as np
import pytest
import torch

from pipelines.toybox.judge import HEADS, STRIDE, Judge, Seen, Verdict, with_all_kinds
from pipelines.toybox.measure import (
    correlation,
    edge_f1,
    measuring_scenes,
    psnr,
    score,
    sharpness,
)
from pipelines.toybox.scenes import Scene, Thing, is_reserved
from pipelines.toybox.vocabulary import COLOURS, FIRST_RELEASE, KINDS, PLACES


def _toy(kind, colour, x, certainty=0.9):
    return Seen(kind, colour, "matte", certainty, (x - 5, 0, x + 5, 10))


def test_one_toy_is_scored_by_the_surest():
    scene = Scene("snow", (Thing("cat", "red"),))
    verdicts = [
        Verdict("snow", (_toy("cat", "red", 50),)),
        Verdict("snow", (_toy("cat", "blue", 50), _toy("car", "red", 90, 0.4))),
        Verdict("fog", (_toy("car", "red", 50), _toy("cat", "red", 90, 0.4))),
        Verdict("snow", ()),
    ]
    shares = score([scene] * 4, verdicts)
    assert {name: (s.hits, s.trials) for name, s in shares.items()} == {
        "place": (3, 4),
        "object": (2, 4),
        "colour": (2, 4),
    }


def test_two_toys_are_scored_for_kinds_colours_and_sides():
    scene = Scene("snow", (Thing("cat", "red"), Thing("car", "blue")), relation="right of")
    cat, car = _toy("cat", "red", 90), _toy("car", "blue", 30)
    verdicts = [
        Verdict("snow", (car, cat)),  # all right
        Verdict("snow", (_toy("cat", "red", 10), car)),  # wrong sides
        Verdict("snow", (_toy("car", "red", 30), _toy("cat", "blue", 90))),  # colours swapped
        Verdict("snow", (car,)),  # one missing
    ]
    shares = score([scene] * 4, verdicts)
    assert (shares["both objects"].hits, shares["both objects"].trials) == (3, 4)
    assert shares["both colours"].hits == 2
    assert (shares["left/right"].hits, shares["left/right"].trials) == (2, 3)


def test_toys_of_one_look_are_scored_for_their_number_and_colour():
    scene = Scene("snow", (Thing("cat", "red"), Thing("cat", "red")), relation="left of")
    one, two, three = (_toy("cat", "red", x) for x in (10, 50, 90))
    verdicts = [
        Verdict("snow", (one, two)),
        Verdict("snow", (one, two, three)),  # one too many
        Verdict("snow", (one,)),
        Verdict("snow", (one, _toy("car", "red", 90))),  # another kind
        Verdict("snow", (one, _toy("cat", "blue", 90))),  # of another colour
    ]
    shares = score([scene] * 5, verdicts)
    assert {name: share.hits for name, share in shares.items()} == {
        "place": 5,
        "count": 2,
        "their colour": 4,
    }
    for made in measuring_scenes(5, 2, FIRST_RELEASE, alike=True):
        assert made.things[0].look == made.things[1].look
        assert is_reserved(made.things[0], made.place)


def test_measuring_scenes_are_held_out_and_of_different_kinds():
    for scene in measuring_scenes(20, 2, FIRST_RELEASE):
        assert all(is_reserved(thing, scene.place) for thing in scene.things)
        assert scene.things[0].kind != scene.things[1].kind


def test_the_judge_reads_peaks_as_toys_from_left_to_right():
    judge = Judge(widths=(8, 8, 8), kinds=len(KINDS)).eval()
    maps = {head: torch.zeros(1, size, 4, 4) for head, size in HEADS.items()}
    maps["centre"] -= 9
    for row, column, kind, colour in ((1, 3, "cat", "blue"), (2, 0, "car", "pink")):
        maps["centre"][0, 0, row, column] = 4
        maps["kind"][0, list(KINDS).index(kind), row, column] = 5
        maps["colour"][0, list(COLOURS).index(colour), row, column] = 5
        maps["box"][0, :, row, column] = torch.tensor([4, 6, 4, 6]) / 32
    places = torch.eye(len(PLACES))[[list(PLACES).index("fog")]]
    judge.forward = lambda x: (maps, places)
    (verdict,) = judge.read(np.zeros((1, 32, 32, 3), np.uint8))
    assert verdict.place == "fog"
    assert [(toy.kind, toy.colour) for toy in verdict.toys] == [("car", "pink"), ("cat", "blue")]
    x, y = (0 + 0.5) * STRIDE, (2 + 0.5) * STRIDE
    np.testing.assert_allclose(verdict.toys[0].box, (x - 4, y - 6, x + 4, y + 6), atol=1e-4)


def test_a_judge_of_fewer_kinds_says_the_same_when_it_has_room_for_all():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    judge = Judge(widths=(8, 8, 8), kinds=30).eval()
    torch.nn.init.zeros_(judge.heads.bias)
    larger = with_all_kinds(judge).eval()
    verdicts = judge.read(images)
    assert any(verdict.toys for verdict in verdicts)
    assert larger.read(images) == verdicts
    assert larger.sizes["kind"] == len(KINDS) > 30


def _square(shift: int = 0) -> np.ndarray:
    picture = np.zeros((40, 40), np.uint8)
    picture[10 + shift, 10:30] = picture[29 + shift, 10:30] = 255
    picture[10 + shift : 30 + shift, [10, 29]] = 255
    return picture


def test_edges_agree_within_two_pixels_and_no_further():
    assert edge_f1(_square(), _square()) == 1.0
    assert edge_f1(_square(2), _square()) == 1.0
    assert edge_f1(_square(5), _square()) < 0.8


def test_edge_f1_by_hand():
    wanted, found = np.zeros((2, 20, 40), np.uint8)
    wanted[5, :] = 255  # 40 pixels, of which the first half are found
    found[5, :20] = 255
    found[15, :20] = 255  # and 20 that nobody wanted
    recall = 22 / 40  # two beyond the end are within the tolerance
    precision = 20 / 40
    expected = 2 * precision * recall / (precision + recall)
    assert abs(edge_f1(found, wanted) - expected) < 1e-6


def test_no_edges_agree_with_none_only():
    empty = np.zeros((8, 8), np.uint8)
    assert edge_f1(empty, empty) == 1.0
    assert edge_f1(_square()[:8, :8], _square()[10:18, 10:18]) == 0.0


def test_correlation_knows_no_scale():
    ramp = np.arange(12.0).reshape(3, 4)
    assert correlation(ramp, 3 * ramp + 2) == pytest.approx(1)
    assert correlation(ramp, -ramp) == pytest.approx(-1)
    assert correlation(ramp, np.ones((3, 4))) == 0


def test_psnr_by_hand():
    truth = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(truth + 51, truth) == pytest.approx(20 * np.log10(5))
    assert psnr(truth, truth) == float("inf")


def _half_white(shift: int = 0) -> np.ndarray:
    picture = np.full((64, 64, 3), 40, np.uint8)
    picture[:, 32 + shift :] = 220
    return picture


def test_an_edge_is_as_sharp_when_it_lies_a_little_beside_and_less_when_it_is_blurred():
    truth = _half_white() + np.arange(64, dtype=np.uint8)[:, None, None] // 8
    moved = _half_white(2) + np.arange(64, dtype=np.uint8)[:, None, None] // 8
    assert sharpness(truth, truth) == pytest.approx((1, 1))
    assert sharpness(moved, truth)[0] == pytest.approx(1, abs=0.02)
    blurred = [sharpness(cv2.GaussianBlur(truth, (0, 0), s), truth)[0] for s in (1, 2)]
    assert blurred[1] < blurred[0] < 0.8
    noise = np.random.default_rng(0).integers(0, 20, truth.shape, np.uint8)
    along, away = sharpness(truth + noise, truth)
    assert along == pytest.approx(1, abs=0.1)
    assert away > 2
