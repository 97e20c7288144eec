"""Scenes and captions: what may be drawn, what must never be."""

import re

import numpy as np

from pipelines.toybox.captions import caption
from pipelines.toybox.scenes import (
    Scene,
    Thing,
    held_out_scene,
    is_reserved,
    sample_scene,
    training_scene,
)
from pipelines.toybox.train.render_shards import scene_from_json, scene_to_json
from pipelines.toybox.vocabulary import FIRST_RELEASE, HELD_OUT, KINDS, TRAINED, plural_of


def test_the_same_seed_gives_the_same_scene_and_words():
    assert sample_scene(5) == sample_scene(5)
    assert sample_scene(5) != sample_scene(6)
    assert caption(sample_scene(5), 1) == caption(sample_scene(5), 1)


def test_held_out_kinds_are_in_no_training_scene_or_caption():
    words = {word for kind in HELD_OUT for word in KINDS[kind]}
    for seed in range(2000):
        scene = training_scene(seed)
        assert not {thing.kind for thing in scene.things} & set(HELD_OUT)
        text = caption(scene, seed)
        assert not [word for word in words if re.search(rf"\b{word}\b", text)], text


def test_training_scenes_hold_nothing_reserved_and_measuring_scenes_nothing_else():
    for seed in range(300):
        scene = training_scene(seed, FIRST_RELEASE)
        assert not any(is_reserved(thing, scene.place) for thing in scene.things)
    for count, seeds in ((1, 300), (2, 60)):  # two reserved things are drawn 250 times as rarely
        for seed in range(seeds):
            scene = held_out_scene(seed, FIRST_RELEASE, count)
            assert all(is_reserved(thing, scene.place) for thing in scene.things)
            assert len(scene.things) == count


def test_kinds_to_train_are_at_least_40_and_the_first_release_is_among_them():
    assert len(TRAINED) >= 40
    assert len(HELD_OUT) >= 5
    assert set(FIRST_RELEASE) <= set(TRAINED)
    assert not set(TRAINED) & set(HELD_OUT)


def test_training_scenes_have_up_to_three_toys_and_some_that_look_the_same():
    scenes = [training_scene(seed) for seed in range(400)]
    share = [sum(len(scene.things) == n for scene in scenes) / 400 for n in (1, 2, 3)]
    assert min(share) > 0.15
    several = [scene for scene in scenes if len(scene.things) > 1]
    alike = [scene for scene in several if len({t.look for t in scene.things}) < len(scene.things)]
    assert 0.15 < len(alike) / len(several) < 0.35
    for scene in alike:  # side by side: "two red cups" says nothing of front and back
        assert scene.relation in ("left of", "right of", None)
        xs = sorted(thing.x for thing in scene.things)
        assert np.diff(xs).min() > 0.7
    assert {len({t.look for t in scene.things}) for scene in alike if len(scene.things) == 3} == {
        1,
        2,
    }


def test_toys_that_look_the_same_are_counted():
    apple, mug = Thing("apple", "green"), Thing("mug", "red", size="small")
    left, middle, right = (Thing("apple", "green", x=x) for x in (-1.0, 0.0, 1.0))
    for things, words in (
        ((left, right), "two green apples on the sand"),
        ((left, middle, right), "three green apples on the sand"),
        ((mug, left, middle), "two green apples and a small red mug on the sand"),
        ((apple, mug), "a green apple left of a small red mug on the sand"),
    ):
        scene = Scene("sand", things, "left of" if len(things) == 2 else None)
        assert caption(scene, 0, plain=True) == words
    counted = {caption(Scene("sand", (left, right), "left of"), seed) for seed in range(200)}
    assert all(re.search(r"\b(two|2|pair)\b.*apples", text) for text in counted)


def test_three_in_a_row_are_named_from_left_to_right_whatever_their_order():
    things = (Thing("cat", "red", x=1.0), Thing("mug", "blue", x=-1.0), Thing("tree", "green"))
    texts = [caption(Scene("snow", things), seed) for seed in range(200)]
    said = [text for text in texts if "middle" in text or "from left to right" in text]
    assert len(said) > 40
    for text in said:
        found = [re.search(ways, text) for ways in ("mug|cup", "tree|pine", "cat|kitt")]
        assert [match.start() for match in found] == sorted(match.start() for match in found), text


def test_plurals_of_all_kinds():
    words = {way: plural_of(way) for ways in KINDS.values() for way in ways}
    assert words["traffic cone"] == "traffic cones"
    assert {words[way] for way in ("puppy", "kitty", "pony")} == {"puppies", "kitties", "ponies"}
    assert (words["box"], words["torus"], words["couch"]) == ("boxes", "toruses", "couches")
    assert (words["snowman"], words["cactus"], words["fish"]) == ("snowmen", "cacti", "fish")
    assert (words["toy car"], words["donut"]) == ("toy cars", "donuts")


def test_relations_hold_in_the_layout():
    seen = set()
    for seed in range(400):
        scene = sample_scene(seed, things=2)
        first, second = scene.things
        seen.add(scene.relation)
        match scene.relation:
            case "left of":
                assert first.x < second.x - 0.8
            case "right of":
                assert first.x > second.x + 0.8
            case "in front of":
                assert first.z > second.z + 1
            case "behind":
                assert first.z < second.z - 1
            case "on top of":
                assert first.y > 0.5
                assert second.y == 0
    assert seen == {"left of", "right of", "in front of", "behind", "on top of"}


def test_a_plain_caption_says_everything_in_canonical_words():
    scene = Scene(
        "wood",
        (Thing("mug", "red", size="small"), Thing("apple", "orange", finish="dotted")),
        relation="left of",
    )
    assert (
        caption(scene, 0, plain=True)
        == "a small red mug left of a dotted orange apple on a wooden floor"
    )


def test_captions_vary_in_words_and_order():
    scene = sample_scene(3, things=2)
    texts = {caption(scene, seed) for seed in range(200)}
    assert len(texts) > 120
    assert all(len(text.split()) <= 30 for text in texts)


def test_a_caption_that_swaps_the_toys_swaps_the_relation():
    scene = Scene("snow", (Thing("car", "red"), Thing("cat", "blue")), relation="in front of")
    for seed in range(300):
        text = caption(scene, seed)
        if "in front of" in text or " before " in text:
            order = [re.search(r"car|automobile", text), re.search(r"cat|kitt", text)]
            assert order[0].start() < order[1].start(), text


def test_scenes_survive_json():
    for seed in range(20):
        assert scene_from_json(scene_to_json(sample_scene(seed))) == sample_scene(seed)


def test_a_generator_may_be_drawn_from():
    rng = np.random.default_rng(0)
    scene = sample_scene(1)
    assert caption(scene, rng) == caption(scene, np.random.default_rng(0))
