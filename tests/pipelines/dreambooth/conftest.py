"""A home folder with the smallest Stable Diffusion, a subject, and trainers, real and acting."""

from __future__ import annotations

import io
import secrets
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.errors import validate
from pipelines.core.paths import ROOT
from pipelines.dreambooth.base import Base
from pipelines.dreambooth.data import class_pictures
from pipelines.dreambooth.data.subjects import Subject
from pipelines.dreambooth.folder import TrainingFolder
from pipelines.dreambooth.requests import TrainingRequest
from pipelines.dreambooth.trainer import Trainer, make_accelerator
from pipelines.models.catalog import Catalog
from tests.conftest import TINY
from tests.patience import PATIENCE
from tests.pipelines.dreambooth.acting import SCRIPT, with_steps
from tests.pipelines.dreambooth.forked import Forked


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tiny models are slower on more, and the sums are added up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _rough_pictures():
    """What a trainer paints takes two steps: no test asks how fine it is."""
    paint = Base.paint

    def paint_roughly(self, *arguments, **settings):
        return paint(self, *arguments, **{"steps": 2} | settings)

    with pytest.MonkeyPatch.context() as patch:  # a test's own may be undone amid it
        patch.setattr(Base, "paint", paint_roughly)
        patch.setattr(class_pictures, "STEPS", 2)
        yield


def photo(seed: int, size: tuple[int, int] = (96, 80)) -> bytes:
    """A PNG of coloured noise, blurred into blobs."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    blobs.resize(size, Image.Resampling.BICUBIC).save(buffer, format="PNG")
    return buffer.getvalue()


def fill_home(home: Path, twin: Path) -> Path:
    (home / "models").mkdir()
    shutil.copytree(twin, home / "models" / TINY)
    return home


def make_subject(home: Path) -> Subject:
    """Four photos, one of them wide."""
    made = Subject.create(home, "Whiskers", "sks", "cat")
    sizes = [(96, 80), (80, 96), (96, 96), (160, 80)]
    for seed, size in enumerate(sizes):
        made.add(f"{seed}.png", photo(seed, size), f"a [trigger] number {seed}")
    return made


@pytest.fixture
def home(tmp_path: Path, twin_folder) -> Path:
    """Its ``models/`` holds ``tiny-sd1``."""
    return fill_home(tmp_path, twin_folder("sd1"))


@pytest.fixture
def subject(home: Path) -> Subject:
    return make_subject(home)


Ask = Callable[..., TrainingRequest]


def request_for(subject: Subject, /, **settings) -> TrainingRequest:
    """A request for a short LoRA training in float32, with changes."""
    values = {
        "subject": subject.id,
        "training": secrets.token_hex(16),
        "model": TINY,
        "name": "whiskers",
        "identifier": "sks",
        "class_word": "cat",
        "rank": 4,
        "steps": 6,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "mixed_precision": "no",
        "save_every": 0,
    }
    return validate(TrainingRequest, values | settings)


@pytest.fixture
def ask(subject: Subject) -> Ask:
    """``ask(**changes)``: :func:`request_for` the subject."""
    return partial(request_for, subject)


def trainer_of(home: Path, request: TrainingRequest, photos=None) -> Trainer:
    """A trainer that has not begun, or goes on; its folder has the request."""
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    folder.go_on()
    accelerator = make_accelerator("no", "cpu", find_unused=False)
    entry = Catalog(home).get(request.model)
    photos = Subject.open(home, request.subject).photos if photos is None else photos
    return Trainer(folder, request, entry, photos, accelerator)


@pytest.fixture
def trainer(home: Path, subject: Subject) -> Callable[[TrainingRequest], Trainer]:
    """``trainer(request, photos=None)``: of the subject's photos, or of these."""
    return partial(trainer_of, home)


@pytest.fixture
def copy_training(home: Path):
    """``copy_training(folder)``: the folder as another training of the same request."""

    def copy(folder: TrainingFolder) -> TrainingFolder:
        other = TrainingFolder(home, secrets.token_hex(16))
        shutil.copytree(folder.path, other.path)
        return other

    return copy


@pytest.fixture
def cache(home: Path) -> ModelCache:
    def load(name, device, notes):
        pytest.fail(f"{name} was loaded into the studio")

    return ModelCache(load, "cpu", 2**40, home=home, offline=True)


@pytest.fixture
def make_launcher(tmp_path: Path):
    """``make_launcher(body)``: a launcher of a trainer that only acts, by the lines of ``body``."""

    def make(body: str):
        script = tmp_path / "acting.py"
        lines = "\n".join("    " + line for line in body.strip().splitlines())
        script.write_text(SCRIPT.format(root=str(ROOT), patience=PATIENCE, body=lines))

        def launch(folder, request, device, offline) -> Forked:
            return Forked(script, folder.path, folder.log)

        return launch

    return make


@pytest.fixture(scope="session")
def shared_result(tmp_path_factory, twin_folder) -> Path:
    """A real result of a short training that says it is one of all steps; treat it as read-only."""
    home = fill_home(tmp_path_factory.mktemp("learnt"), twin_folder("sd1"))
    subject = make_subject(home)
    made = trainer_of(home, request_for(subject, steps=1))
    made.run()
    return with_steps(made.folder.result, request_for(subject).steps)


@pytest.fixture
def training_result(shared_result: Path, tmp_path: Path) -> Path:
    """A real result of a short training, for acting trainers to hand over.

    It says that it is one of all steps that :func:`ask` asks for.
    """
    return Path(shutil.copytree(shared_result, tmp_path / "learnt"))
