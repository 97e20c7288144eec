"""The features. This is the only place that names them.

A feature is a folder whose module ``feature`` declares it. A package on the machine brings one by
an entry point of the group :data:`GROUP`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from studio.core.feature import Features

GROUP = "atelier.features"
# In the order of their tabs.
FEATURES = (
    "painting",
    "from_picture",
    "upscaling",
    "control",
    "training",
    "library",
    "chat",
    "clustering",
    "labs",
    "gallery",
    "settings",
    "openai_api",
    "sdapi",
    "mcp",
)


def load_features() -> Features:
    """The features of a new studio: its own, and those that installed packages bring."""
    own = [EntryPoint(name, f"{__name__}.{name}.feature:FEATURE", GROUP) for name in FEATURES]
    return Features.load([*own, *entry_points(group=GROUP)])
