"""Packages that bring features, installed into a folder as pip would, without pip."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studio import i18n
from studio.features import GROUP

PALETTE = Path(__file__).parents[1] / "examples" / "atelier_palette"


def install(site: Path, name: str, entries: dict[str, str]) -> None:
    """Notes a package's entry points where importlib.metadata looks for them."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{entry} = {value}" for entry, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))


@contextmanager
def palette_in(site: Path) -> Iterator[None]:
    """The example of the README, installed into ``site``, which Python finds meanwhile."""
    project = tomllib.loads((PALETTE / "pyproject.toml").read_text("utf-8"))["project"]
    shutil.copytree(PALETTE / "atelier_palette", site / "atelier_palette")
    install(site, "atelier_palette", project["entry-points"][GROUP])
    with import_from(site):
        yield


@contextmanager
def import_from(site: Path) -> Iterator[None]:
    """Python imports from ``site``; what it has imported from there is forgotten afterwards."""
    sys.path.insert(0, str(site))
    before, sentences = set(sys.modules), list(i18n.brought)
    try:
        yield
    finally:
        sys.path.remove(str(site))
        for name in set(sys.modules) - before:
            if str(site) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
        i18n.brought[:] = sentences
        i18n.texts.cache_clear()
