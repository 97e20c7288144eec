"""Which engines there are."""

from __future__ import annotations

from pipelines.chat.pruning.requests import CurveRequest, PruneRequest, ScoreRequest
from pipelines.clustering.requests import ClusterRequest, CompareRequest
from pipelines.clustering.requests import CurveRequest as ClusterCurveRequest
from pipelines.core.engines import Engine
from pipelines.diffusion.control.requests import ControlRequest
from pipelines.diffusion.lora.requests import MergeRequest
from pipelines.diffusion.requests import CompareSamplersRequest, TextToImageRequest
from pipelines.dreambooth.before_after_requests import BeforeAfterRequest
from pipelines.dreambooth.requests import TrainingRequest

_CLUSTERING = "pipelines.clustering.engine"

ENGINES: dict[str, Engine] = {
    engine.kind: engine
    for engine in (
        Engine("text_to_image", TextToImageRequest, "pipelines.diffusion.text_to_image"),
        Engine("compare_samplers", CompareSamplersRequest, "pipelines.diffusion.compare"),
        Engine("control", ControlRequest, "pipelines.diffusion.control.paint"),
        Engine("merge_loras", MergeRequest, "pipelines.diffusion.lora.merge"),
        Engine("dreambooth", TrainingRequest, "pipelines.dreambooth.process", resumes=True),
        Engine("before_after", BeforeAfterRequest, "pipelines.dreambooth.before_after"),
        Engine("score_blocks", ScoreRequest, "pipelines.chat.pruning.engine"),
        Engine("shorten", PruneRequest, "pipelines.chat.pruning.engine", resumes=True),
        Engine("shorten_curve", CurveRequest, "pipelines.chat.pruning.engine"),
        Engine("cluster", ClusterRequest, _CLUSTERING, light=True, by_owner=True),
        Engine("compare_clusters", CompareRequest, _CLUSTERING, light=True, by_owner=True),
        Engine("cluster_curve", ClusterCurveRequest, _CLUSTERING, light=True, by_owner=True),
    )
}
