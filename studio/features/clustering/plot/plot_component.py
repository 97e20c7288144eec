"""A plot of points and clusters, in which algorithms move step by step; its value is a *scene*.

Drawn in the browser on plain canvases (``assets/clustering/*.js``, served below ``/scripts``): it
fetches points, labels and animations itself, so that what the page sends back and forth stays
small.

The scene, JSON as text, with all keys optional::

    {"data": id or null,            a data set of /api/v1/cluster-data
     "dims": 2 or 3, "projection": "pca" | "umap" | "none", "scaling": "none" | …,
     "mode": "view" | "draw" | "centres",
     "labels": id of a clustering's job or null, "algorithm": its name where a job has several,
     "animation": null or the body of POST /api/v1/cluster-animations,
     "points": [[x, y], …], with which drawing begins,
     "centres": [[x, y], …], with which placing centres begins,
     "play": true for an animation that begins by itself,
     "thumbs": true where points are pictures of the gallery, "revision": n}

An animation starts anew when its body or ``revision`` changes. ``points`` and ``centres`` that the
page sends back unchanged leave what the hand has done since as it is.

Events, each with the named values in ``gr.EventData``: ``drawn`` (``points``) after each stroke,
``centres`` (``centres``), ``select`` (``rows`` of the data set; empty when nothing is selected any
more), ``mode`` (``mode`` that is asked for: draw or centres). Listen with
``trigger_mode="always_last"``: else what comes while an earlier call is under way is lost. For
tests ``window.atelierPlots[name].state()`` says what is seen.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import gradio as gr

from pipelines.clustering.algorithms.registry import ALGORITHMS
from pipelines.core.paths import ASSETS
from studio.core.palette import PLOT
from studio.i18n import strings_in_scripts, translations

SCRIPTS = ASSETS / "clustering"
EVENTS = ("drawn", "centres", "select", "mode")


def plot(name: str, **options: Any) -> gr.HTML:
    """The component; give it a scene as its value.

    Args:
        name: the component's ``elem_id``, and under ``window.atelierPlots`` the plot's name.
        **options: further arguments of :class:`gradio.HTML`.
    """
    # Gradio knows an event of its own only if the script that it is given names it.
    given = {"name": name, "words": _words(), "titles": _titles(), "events": EVENTS,
             "palette": PLOT}  # fmt: skip
    return gr.HTML(
        html_template='<div class="cluster-plot"></div>',
        js_on_load=(
            "import(new URL('scripts/clustering/main.js', document.baseURI).href)"
            ".then((plot) => plot.start(element.querySelector('.cluster-plot'), "
            f"{{ props, trigger, watch }}, {json.dumps(given)}));"
        ),
        apply_default_css=False,
        elem_id=name,
        **{"value": "{}", **options},
    )


def _titles() -> dict[str, str]:
    return {name: each.title for name, each in ALGORITHMS.items()}


@cache
def _words() -> dict[str, dict[str, str]]:
    return translations({*strings_in_scripts(SCRIPTS), *_titles().values()})
