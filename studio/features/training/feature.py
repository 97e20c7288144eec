"""Teaching the studio a subject from photos."""

from __future__ import annotations

from fastapi import APIRouter

from pipelines.core.engine import Engine
from pipelines.dreambooth.presets import presets
from pipelines.dreambooth.requests import BeforeAfterRequest, TrainingRequest
from studio.core.feature import Feature, Upload
from studio.features.training import subjects_api, trainings_api
from studio.features.training.checks import check_before_after, check_training, fill_training
from studio.features.training.subjects import KIND, Subjects
from studio.features.training.tab import TrainTab
from studio.features.training.training_jobs import Trainings

router = APIRouter()
router.include_router(subjects_api.router)
router.include_router(trainings_api.router)

FEATURE = Feature(
    name="training",
    engines=(
        Engine(KIND, TrainingRequest, "pipelines.dreambooth.process", resumes=True),
        Engine("before_after", BeforeAfterRequest, "pipelines.dreambooth.before_after"),
    ),
    services={
        "subjects": lambda studio: Subjects(
            studio.store, studio.home, studio.gallery, studio.library, studio.quota
        ),
        "trainings": lambda studio: Trainings(
            studio.home, studio.loras, studio.device, studio.subjects, studio.jobs
        ),
    },
    fills={KIND: fill_training},
    checks={TrainingRequest: check_training, BeforeAfterRequest: check_before_after},
    routes=router,
    uploads={r"subjects/\w+/photos": Upload.LARGE},
    keepers=("subjects", "trainings"),
    labels=lambda: [preset.title for preset in presets()],
    tabs=(TrainTab,),
)
