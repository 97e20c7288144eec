"""What a training will take, what cannot work, and the presets' settings."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import (
    BadRequest,
    NotFound,
    OutOfMemory,
    Unavailable,
    UserError,
    validate,
)
from pipelines.dreambooth.data.photos import png_bytes
from pipelines.dreambooth.data.subjects import Subject
from pipelines.dreambooth.preflight import check_room, preflight, remember_speed
from pipelines.dreambooth.presets import presets, settings_for
from pipelines.dreambooth.requests import TrainingRequest
from pipelines.models.catalog import Catalog

GB = 10**9
SOME = {"subject": "0" * 32, "training": "1" * 32, "name": "cat", "class_word": "cat"}
SOME |= {"identifier": "kref"}  # which means nothing to the starter


def request_of(**settings) -> TrainingRequest:
    return validate(TrainingRequest, SOME | settings)


@pytest.fixture
def entry(tmp_path: Path):
    """``entry(name)`` of the shipped catalog."""
    return Catalog(tmp_path).get


def look(request, entry, tmp_path, photos=10, device="cpu", cores=2):
    return preflight(request, entry(request.model), photos, tmp_path, device, cores)


@pytest.mark.parametrize(
    ("settings", "photos", "device", "words"),
    [
        ({}, 1, "cpu", "has 1 photos; at least 2 are needed"),
        ({"batch_size": 4}, 3, "cpu", "batch size is 4, but the subject has 3 photos"),
        ({"steps": 10, "warmup_steps": 10}, 5, "cpu", "warm-up takes 10 of 10 steps"),
        ({"prior_preservation": True, "class_word": ""}, 5, "cpu", "Write a class"),
        ({"mixed_precision": "fp16"}, 5, "cpu", "fp16 cannot be computed with on a CPU"),
        ({"processes": 2}, 5, "cpu", "2 GPUs were asked for, but this training runs on cpu"),
        ({"optimizer": "adamw_8bit"}, 5, "mps", "8-bit AdamW needs an NVIDIA GPU"),
        (
            {"optimizer": "prodigy", "train_text_encoder": True, "learning_rate": 1.0,
             "text_encoder_learning_rate": 0.5},
            5, "cuda", "Prodigy finds one learning rate",
        ),
        ({"model": "flux-schnell"}, 5, "cuda", "cannot be taught yet"),
        ({"method": "textual_inversion", "identifier": "kref"}, 5, "cpu",
         "knows the word kref already.*such as kref-cat"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(entry, tmp_path, settings, photos, device, words):
    with pytest.raises((BadRequest, Unavailable), match=words):
        look(request_of(**settings), entry, tmp_path, photos, device)


def test_steps_and_samples_count_class_pictures_accumulation_and_gpus(entry, tmp_path):
    request = request_of(
        model="sd15",
        steps=100,
        batch_size=2,
        gradient_accumulation=3,
        processes=4,
        prior_preservation=True,
        class_pictures=50,
    )
    found = look(request, entry, tmp_path, device="cuda")
    assert (found.steps, found.samples, found.class_pictures) == (100, 100 * 2 * 2 * 3 * 4, 50)


def test_8_bit_adamw_is_refused_where_its_package_is_missing(entry, tmp_path, monkeypatch):
    request = request_of(optimizer="adamw_8bit")
    monkeypatch.setattr("pipelines.dreambooth.preflight.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="bitsandbytes, which is not installed"):
        look(request, entry, tmp_path, device="cuda")
    monkeypatch.setattr("pipelines.dreambooth.preflight.find_spec", lambda name: object())
    assert look(request, entry, tmp_path, device="cuda").steps == request.steps


@pytest.mark.parametrize(("rate", "said"), [(2e-4, True), (0.5, False), (1, False), (10, True)])
def test_a_rate_that_is_none_of_prodigys_is_remarked_upon(entry, tmp_path, rate, said):
    notes = look(request_of(optimizer="prodigy", learning_rate=rate), entry, tmp_path).notes
    assert [str(note) for note in notes] == said * [
        f"Prodigy finds the learning rate itself and counts from 1; it is {rate:g}. Set it to 1."
    ]


@pytest.mark.parametrize(
    ("method", "rate", "said"),
    [("lora", 2e-3, False), ("lora", 0.9, True), ("full", 1e-4, False), ("full", 0.01, True)],
)
def test_a_rate_at_which_trainings_fall_apart_is_remarked_upon(entry, tmp_path, method, rate, said):
    notes = look(request_of(method=method, learning_rate=rate), entry, tmp_path).notes
    assert [str(note).partition(" is so high")[0] for note in notes] == said * [
        f"The learning rate {rate:g}"
    ]


def test_a_high_rate_of_the_text_encoder_is_remarked_upon_where_it_learns(entry, tmp_path):
    rates = {"learning_rate": 1e-4, "text_encoder_learning_rate": 0.5}
    (note,) = look(request_of(train_text_encoder=True, **rates), entry, tmp_path).notes
    assert str(note).startswith("The learning rate 0.5 is so high")
    assert look(request_of(train_text_encoder=False, **rates), entry, tmp_path).notes == []


@pytest.mark.parametrize("words", [{"identifier": "BREAK"}, {"class_word": "BREAK dancer"},
                                   {"identifier": "x-BREAK"}])  # fmt: skip
def test_a_word_that_prompts_read_as_something_else_is_refused(entry, tmp_path, words):
    with pytest.raises(BadRequest, match="means something else in a prompt"):
        look(request_of(**words), entry, tmp_path)


def test_tags_in_prompts_that_are_painted_meanwhile_are_said_to_be_left_out(entry, tmp_path):
    prompts = {"sample_every": 5, "sample_prompts": ("a [trigger] <lora:x:1>", "a cat")}
    prompts |= {"class_prompts": ("a [class]<hypernet:y:1>",)}
    (note,) = look(request_of(**prompts), entry, tmp_path).notes
    assert str(note).startswith("<lora:x:1>, <hypernet:y:1> in sample or class prompts is left out")


def test_what_is_said_of_the_word_is_said_before_the_training_too(entry, tmp_path):
    (note,) = look(request_of(identifier="mug"), entry, tmp_path).notes
    assert "has a picture of “mug” already" in str(note)


def test_what_is_said_of_the_photos_is_said_before_the_training_too(entry, tmp_path):
    subject = Subject.create(tmp_path, "Whiskers", "kref", "cat")
    rng = np.random.default_rng(0)
    sharp = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
    scene = sharp.resize((400, 400), Image.Resampling.BICUBIC)
    for kind in ("PNG", "JPEG", "WEBP"):
        buffer = io.BytesIO()
        scene.save(buffer, kind, quality=80)
        subject.add(f"cat.{kind.lower()}", buffer.getvalue())
    assert (len(subject.photos), len(subject.different)) == (3, 1)
    request = request_of(subject=subject.id)
    with pytest.raises(BadRequest, match="All 3 photos show one and the same picture"):
        look(request, entry, tmp_path, subject)
    other = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).resize((200, 200))
    subject.add("dog.png", png_bytes(other))
    notes = [str(note) for note in look(request, entry, tmp_path, subject).notes]
    assert notes[0].startswith("2 photos are few")
    assert notes[1] == "1 of 4 photos are small and will be enlarged: dog.png."
    assert "2 of 4 photos are much like another one; different views teach more: cat.jpeg, " in (
        " ".join(notes)
    )


def test_memory_grows_with_what_is_asked(entry, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.dreambooth.preflight.find_spec", lambda name: object())

    def bytes_for(**settings) -> int:
        return look(request_of(model="sd15", **settings), entry, tmp_path, device="cuda").bytes

    lora = bytes_for()
    assert 3 * GB < lora < 9 * GB  # 512², batch 1: people do it in 6 to 8 GB
    assert bytes_for(gradient_checkpointing=True) < lora
    assert bytes_for(batch_size=4) > 2 * lora - 4 * GB
    assert bytes_for(resolution=768) > lora
    assert bytes_for(method="full") > 12 * GB
    assert bytes_for(method="full", optimizer="adamw_8bit") < bytes_for(method="full")
    assert bytes_for(mixed_precision="no") > lora


def test_a_step_that_was_measured_is_believed(entry, tmp_path):
    request = request_of(steps=1000)
    before = look(request, entry, tmp_path)
    assert not before.measured
    remember_speed(request, 128, tmp_path, "cpu", 3.0)
    after = look(request, entry, tmp_path)
    assert after.measured
    assert 3000 < after.seconds < 3100
    assert not look(request_of(steps=1000, batch_size=2), entry, tmp_path).measured


def test_too_little_memory_or_disk_is_refused_with_numbers(entry, tmp_path, monkeypatch):
    found = look(request_of(model="sdxl"), entry, tmp_path, device="cuda")
    with pytest.raises(OutOfMemory, match=r"needs about \d+ GB on cuda, 2.0 GB are free"):
        check_room(found, tmp_path, "cuda", 2 * GB)
    check_room(found, tmp_path, "cuda", 80 * GB)
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(Unavailable, match=r"on the disk, 1.0 kB are free"):
        check_room(found, tmp_path, "cuda", 80 * GB)


def test_few_photos_and_missing_prompts_are_remarked_upon(entry, tmp_path):
    found = look(request_of(sample_every=10, save_every=0), entry, tmp_path, photos=3)
    notes = " ".join(map(str, found.notes))
    assert "3 photos are few" in notes
    assert "No sample prompts" in notes
    assert "a crash loses the whole training" in notes
    assert look(request_of(), entry, tmp_path).notes == []


def test_settings_that_textual_inversion_has_no_use_for_stop_nothing(entry, tmp_path):
    word = {"method": "textual_inversion", "identifier": "kref-cat", "class_word": ""}
    unused = {"prior_preservation": True, "train_text_encoder": True, "rank": 256,
              "text_encoder_learning_rate": 0.5}  # fmt: skip
    rate = {"optimizer": "prodigy", "learning_rate": 1.0}
    found = look(request_of(**word, **unused, **rate), entry, tmp_path)
    assert found == look(request_of(**word, **rate), entry, tmp_path)


def test_the_new_word_of_textual_inversion_is_said(entry, tmp_path):
    request = request_of(method="textual_inversion", identifier="kref-cat")
    notes = " ".join(map(str, look(request, entry, tmp_path).notes))
    assert "“kref-cat” is the new word" in notes


@pytest.mark.parametrize("memory", [4 * GB, 11 * GB, 15 * GB, 80 * GB])
@pytest.mark.parametrize("method", ["lora", "full", "textual_inversion"])
@pytest.mark.parametrize("model", ["starter", "sd15", "sdxl"])
@pytest.mark.parametrize("preset", ["quick", "balanced", "best"])
def test_every_preset_gives_settings_that_a_request_takes(entry, preset, model, method, memory):
    settings = settings_for(preset, entry(model), method, memory, photos=10)
    request = request_of(model=model, method=method, **settings)
    assert request.warmup_steps < request.steps
    assert len(settings) == len(TrainingRequest.model_fields) - 8


def test_presets_ask_for_less_where_memory_is_short(entry):
    small = settings_for("balanced", entry("sd15"), "lora", 8 * GB, 10)
    large = settings_for("balanced", entry("sd15"), "lora", 24 * GB, 10)
    assert (small["gradient_checkpointing"], large["gradient_checkpointing"]) == (True, False)
    assert (small["train_text_encoder"], large["train_text_encoder"]) == (False, True)


def test_a_presets_batch_is_never_larger_than_the_photos_are_many(entry):
    assert settings_for("quick", entry("starter"), "lora", GB, photos=3)["batch_size"] == 3


def test_presets_have_words_in_both_languages():
    for preset in presets():
        assert preset.title.keys() == preset.description.keys() == {"en", "zh"}


def test_a_preset_that_does_not_exist_or_cannot_be_is_named(entry, tmp_path):
    with pytest.raises(NotFound, match="quick, balanced, best"):
        settings_for("fast", entry("starter"), "lora", GB, 10)
    (tmp_path / "training.yaml").write_text(
        "- {name: odd, title: {en: Odd}, description: {en: x}, settings: {rank: 0}}"
    )
    with pytest.raises(UserError, match=r"training.yaml, entry odd: Rank is 0"):
        presets(tmp_path)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "training.yaml").write_text(
        "- {name: sly, title: {en: x}, description: {en: x}, settings: {owner: eve}}"
    )
    with pytest.raises(UserError, match="cannot decide owner"):
        presets(tmp_path / "second")


def test_a_model_of_a_known_shape_has_the_settings_of_that_shape(entry):
    known = settings_for("quick", entry("starter"), "lora", GB, photos=8)
    assert settings_for("quick", entry("starter-256"), "lora", GB, photos=8) == known
    assert settings_for("quick", entry("sd15"), "lora", GB, photos=8) != known
