"""Which clustering algorithms there are: one registry for requests, the page and the tests.

No scikit-learn here: the page lists algorithms before it is loaded.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from inspect import isabstract
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from pipelines.clustering import algorithms
from pipelines.clustering.algorithms.base import Algorithm
from pipelines.clustering.algorithms.fields import Parameters
from pipelines.core.errors import NotFound
from pipelines.core.matching import closest, find_name


def load_algorithms() -> dict[str, Algorithm[Any]]:
    """Those that the modules of this package define, by name, in the order of their places."""
    found = []
    for module in pkgutil.iter_modules(algorithms.__path__, f"{algorithms.__name__}."):
        for kind in vars(import_module(module.name)).values():
            is_one = isinstance(kind, type) and issubclass(kind, Algorithm)
            if is_one and kind.__module__ == module.name and not isabstract(kind):
                found.append(kind())
    return {each.name: each for each in sorted(found, key=lambda each: (each.place, each.name))}


ALGORITHMS = load_algorithms()


def find(name: str) -> Algorithm[Any]:
    """The algorithm of that name.

    Raises:
        NotFound: there is none; says which was perhaps meant.
    """
    if (known := find_name(name, ALGORITHMS)) is not None:
        return ALGORITHMS[known]
    raise NotFound(
        "There is no clustering algorithm called {name}. Did you mean {near}?",
        name=name,
        near=closest(name, ALGORITHMS),
    )


def _by_name(params: Parameters) -> tuple[str, dict[str, Any]]:
    """The first algorithm that has parameters of this class, and their values."""
    kind = type(params)
    name = next(each.name for each in ALGORITHMS.values() if each.parameters is kind)
    return name, params.model_dump(mode="json")


def _from_name(data: Any) -> Parameters:
    if isinstance(data, Parameters):
        return data
    match data:
        case [str(name), values] if name in ALGORITHMS:
            return ALGORITHMS[name].parameters.model_validate(values)
    raise ValueError("neither an algorithm's name nor its parameters")


AnyParameters = Annotated[Parameters, PlainValidator(_from_name), PlainSerializer(_by_name)]
"""In a type hint: parameters of any of the algorithms, for :mod:`pipelines.clustering.wire`."""
