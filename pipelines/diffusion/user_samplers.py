"""The owner's own samplers: Python files with a diffusers scheduler class in ``<home>/samplers/``.

They are code and run with all of the owner's rights, so they come from the owner's disk only:
nothing that a client sends is ever written there or looked up there by path.

Finding them only parses the files; importing them, and diffusers with them, waits for first use::

    from diffusers import EulerDiscreteScheduler

    class MyEuler(EulerDiscreteScheduler):
        '''Euler that does it my way.'''
        name = "My Euler"   # optional; else the class's name without "Scheduler"
"""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.core.errors import Unavailable
from pipelines.core.files import readable_name, refused_name
from pipelines.core.messages import Message


@dataclass(frozen=True, slots=True)
class OwnSampler:
    """A scheduler class seen in a file of the owner."""

    name: str
    class_name: str
    description: str
    source: Path


@dataclass(frozen=True, slots=True)
class BrokenSampler:
    """A file of the owner that is left out, and why."""

    file: str
    reason: Message | str


def find(folder: Path) -> tuple[list[OwnSampler], list[BrokenSampler]]:
    """Parse all ``*.py`` in ``folder`` (not below it); nothing of them is run."""
    found: list[OwnSampler] = []
    broken: list[BrokenSampler] = []
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        try:
            tree = ast.parse(path.read_bytes(), filename=readable_name(path))
        except (SyntaxError, ValueError, OSError) as error:
            broken.append(BrokenSampler(readable_name(path), str(error)))
            continue
        if (refused := refused_name(path)) is not None:
            broken.append(BrokenSampler(readable_name(path), refused))
            continue
        classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and _is_scheduler(n)]
        if not classes:
            broken.append(BrokenSampler(path.name, Message("it defines no scheduler class")))
        for node in classes:
            description = (ast.get_docstring(node) or path.name).splitlines()[0]
            found.append(OwnSampler(_name(node), node.name, description, path))
    return found, broken


def load_class(name: str, source: Path, class_name: str) -> type:
    """Import the class.

    Raises:
        Unavailable: the file fails, or what it holds is not a scheduler.
    """
    reason = why_broken(name, source, class_name)
    if reason is not None:
        raise Unavailable(
            "The sampler {name} in {file} cannot be loaded: {reason}",
            name=name,
            file=source.name,
            reason=reason,
        )
    return _import(source, class_name)


def why_broken(name: str, source: Path, class_name: str) -> Message | None:
    """Why the class cannot be used as a sampler, or None if it can."""
    from diffusers import ConfigMixin, SchedulerMixin

    try:
        loaded = _import(source, class_name)
    except (Exception, SystemExit) as error:  # the owner's code may raise anything
        raised = f"{type(error).__name__}: {error}"
        return Message("its own code raises {raised}", raised=raised)
    if not (isinstance(loaded, type) and issubclass(loaded, SchedulerMixin)):
        return Message("{name} is not a {kind}", name=class_name, kind="SchedulerMixin")
    if not issubclass(loaded, ConfigMixin):
        return Message("{name} is not a {kind}", name=class_name, kind="ConfigMixin")
    lacking = [method for method in ("set_timesteps", "step") if not hasattr(loaded, method)]
    if not lacking:
        return None
    return Message("{name} has no {method}()", name=class_name, method=lacking[0])


@cache
def _import(source: Path, class_name: str) -> type:
    spec = importlib.util.spec_from_file_location(f"atelier_sampler_{source.stem}", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, class_name)


def _is_scheduler(node: ast.ClassDef) -> bool:
    bases = [
        base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        for base in node.bases
    ]
    return any(base == "SchedulerMixin" or base.endswith("Scheduler") for base in bases)


def _name(node: ast.ClassDef) -> str:
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="name")], value=ast.Constant(value=str(name))):
                return name
    return node.name.removesuffix("Scheduler") or node.name
