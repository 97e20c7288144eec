"""Example photos that ship: ``assets/examples/<subject>/`` with ``about.yaml``, to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import NotFound
from pipelines.core.files import read_yaml
from pipelines.core.paths import ASSETS
from pipelines.dreambooth.data.subjects import Subject

FOLDER = ASSETS / "examples"


@dataclass(frozen=True, slots=True)
class Example:
    """One set of example photos.

    Attributes:
        key: its folder's name.
        name: what the subject is called at first.
        class_word: what it is one of.
        captions: file → caption.
        folder: where the files lie.
    """

    key: str
    name: str
    class_word: str
    captions: dict[str, str]
    folder: Path


def examples() -> dict[str, Example]:
    """All sets by key."""
    found = {}
    for file in sorted(FOLDER.glob("*/about.yaml")):
        about = read_yaml(file)
        found[file.parent.name] = Example(
            key=file.parent.name,
            name=about["name"],
            class_word=about["class_word"],
            captions=about["photos"],
            folder=file.parent,
        )
    return found


def take_example(home: Path, key: str, identifier: str = "") -> Subject:
    """A new subject made of the example photos.

    Raises:
        NotFound: there are none of this key.
    """
    known = examples()
    if key not in known:
        raise NotFound(
            "There are no example photos called {name}. There are: {names}.",
            name=key[:60],
            names=", ".join(known),
        )
    example = known[key]
    subject = Subject.create(home, example.name, identifier, example.class_word)
    for name, caption in example.captions.items():
        subject.add(name, (example.folder / name).read_bytes(), caption)
    return subject
