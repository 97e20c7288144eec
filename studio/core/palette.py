"""The colours of the studio, all of them: what paints something takes its colours from here.

Style sheets and scripts read the tokens as CSS variables (:func:`css_variables`, in the head of the
page) beside those that Gradio makes of its theme, which is of :data:`CLAY` and :data:`STONE`.
"""

from __future__ import annotations

CLAY = {
    "c50": "#fdf5f1",
    "c100": "#fbe8df",
    "c200": "#f6cfbe",
    "c300": "#eeac92",
    "c400": "#e28463",
    "c500": "#d16442",
    "c600": "#b84f30",
    "c700": "#993f27",
    "c800": "#7c3524",
    "c900": "#662f22",
    "c950": "#37150e",
}
STONE = {
    "c50": "#faf9f7",
    "c100": "#f4f2ee",
    "c200": "#e7e4de",
    "c300": "#d5d0c8",
    "c400": "#a59f95",
    "c500": "#67625a",  # muted words: 4.5 : 1 on the darkest of the grounds on which they stand
    "c600": "#57534c",
    "c700": "#413e39",
    "c800": "#2a2825",
    "c900": "#1d1b19",
    "c950": "#141312",
}

CLUSTERS = (
    "#0072B2",  # blue
    "#E69F00",  # orange
    "#009E73",  # bluish green
    "#CC79A7",  # reddish purple
    "#56B4E9",  # sky blue
    "#D55E00",  # vermillion
    "#F0E442",  # yellow
    "#000000",  # black; on dark ground a light ink
)
"""Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of colour vision."""
CHARTS_AT_NIGHT = (*CLUSTERS[:-1], "#D8D4CC")
PLOT_AT_NIGHT = (*CLUSTERS[:-1], "#FFFFFF")
NOISE = "#8A857C"  # points of no cluster
PLOT = {
    "light": {"clusters": CLUSTERS, "noise": NOISE, "plain": STONE["c500"], "faint": "#b5afa5",
              "ground": STONE["c900"]},
    "dark": {"clusters": PLOT_AT_NIGHT, "noise": NOISE, "plain": STONE["c400"],
             "faint": STONE["c500"], "ground": STONE["c950"]},
}  # fmt: skip
"""Of the plot: points before there are clusters, those that wait, and what darkens edges."""

HEAT = {
    "day": ("#fbf7f3", "#f3bd9f", "#d4673f", "#7f3320", "#2a0e0a"),
    "night": ("#211e1c", "#69301f", "#c25532", "#f0b090", "#fff6ef"),
}
"""Five stops from least to most: by day from light to dark, in the dark the other way round."""

PENS = {
    "black": "#000000",
    "grey": "#8a8a8a",
    "white": "#ffffff",
    "red": "#c8382a",
    "yellow": "#eebb3d",
    "green": "#3f8f4f",
    "blue": "#3565b0",
    "brown": "#7b4a2d",
}
"""What is drawn with; the first is taken at the beginning."""

SIGN_IN = {"frame": "#8888", "button": "#c2410c", "words": "#fff", "alert": "#b91c1c",
           "alert_at_night": "#fca5a5"}  # fmt: skip
"""Of the page to log in at, which has no theme."""

_SAME = ""
TOKENS = {
    "shadow-soft": ("rgb(0 0 0 / 0.12)", _SAME),
    "shadow-hard": ("rgb(0 0 0 / 0.3)", _SAME),
    "shade-around": ("rgb(0 0 0 / 0.45)", _SAME),  # what a crop leaves out
    "thumb-ring": ("#f7f6f6bc", _SAME),  # of sliders, as Gradio's own
    "thumb-shadow": ("#0000001a", _SAME),
    "caution": ("#b3541e", _SAME),
    **{f"cluster-{at}": (CLUSTERS[at - 1], _SAME) for at in (1, 2, 5)},
    "card-at-night": ("#242220", _SAME),
    "edge-at-night": ("#37332f", _SAME),
    **{f"heat-{at}": pair for at, pair in enumerate(zip(HEAT["day"], HEAT["night"], strict=True))},
    "heat-ink": (HEAT["night"][-1], HEAT["day"][-1]),
    "hue-orange": ("#d4673f", _SAME),
    "hue-blue": ("#2f7fb8", _SAME),
    "hue-yellow": ("#d9a521", _SAME),
    "hue-green": ("#2c9579", _SAME),
    "hue-purple": ("#a0619c", _SAME),
    "hue-grey": ("#78736a", _SAME),
    "noise": (NOISE, _SAME),
    "bar-blue": ("#2f7fb8", "#6fb0df"),
    "bar-green": ("#2c9579", "#5fc3a6"),
    "code-red": (CLAY["c700"], CLAY["c300"]),
    "code-green": ("#2f6f3f", "#9ccf9f"),
    "code-blue": ("#3a5a9c", "#9db9ee"),
    "code-brown": ("#7b6a4d", STONE["c400"]),
}
"""Name of a variable → its colour by day and in the dark; ``""``: the same."""


def css_variables() -> str:
    """The tokens as a style sheet; in the dark Gradio's page is of the class ``dark``."""
    light = "".join(f"--{name}:{day};" for name, (day, _) in TOKENS.items())
    dark = "".join(f"--{name}:{night};" for name, (_, night) in TOKENS.items() if night)
    return f":root{{{light}}}.dark{{{dark}}}"
