"""The arrows between the parts run one way: app → studio → pipelines → presets."""

from __future__ import annotations

from tests.structure.sources import import_graph, imports_of, python_files

# The folders of the product, each with the others that its modules may use. ``*`` stands for each
# folder there; a module belongs to the longest name that it begins with.
BELOW = {
    "pipelines.core": set(),
    "pipelines.models": {"pipelines.core"},
    "pipelines.toybox": set(),
    "pipelines.toybox.render": {"pipelines.toybox"},
    "pipelines.toybox.train": {
        "pipelines.diffusion",
        "pipelines.preprocessors",
        "pipelines.toybox",
        "pipelines.toybox.render",
    },
    "pipelines.preprocessors": {"pipelines.toybox"},
    "pipelines.chat": set(),
    "pipelines.clustering": {"pipelines.preprocessors", "pipelines.toybox"},
    "pipelines.upscaling": set(),
    # Its LoRAs are part of it; the judge finds parts.
    "pipelines.diffusion": {"pipelines.toybox", "pipelines.upscaling"},
    "pipelines.diffusion.control": {"pipelines.preprocessors", "pipelines.diffusion"},
    "pipelines.grids": {"pipelines.diffusion", "pipelines.diffusion.control", "pipelines.toybox"},
    "pipelines.dreambooth": {"pipelines.diffusion", "pipelines.toybox"},
    "studio.core": set(),
    "studio.page": {"studio.core"},
    "studio.api": {"studio.core"},
    "studio.features.*": {"studio.core", "studio.page", "studio.api"},
}
SHARED = {"pipelines.core", "pipelines.models"}  # what every engine may use


def wrong_imports(folder: str, forbidden: set[str]) -> list[str]:
    return [
        f"{file}:{line} imports {module}"
        for file in python_files(folder)
        for module, line in imports_of(file)
        if module.partition(".")[0] in forbidden
    ]


def test_pipelines_know_nothing_of_the_studio_or_the_web():
    web = {"gradio", "gradio_client", "fastapi", "starlette", "uvicorn", "sqlite3"}
    assert wrong_imports("pipelines", {"studio", "app", "tests", "benchmarks"} | web) == []


def test_studio_knows_nothing_of_the_command_line():
    assert wrong_imports("studio", {"app", "tests", "benchmarks"}) == []


def folder_of(module: str) -> str:
    """The folder of the rules that a module is in, or ""."""
    while module:
        parent, _, name = module.rpartition(".")
        if module in BELOW or (f"{parent}.*" in BELOW and name):
            return module
        module = parent
    return ""


def allowed_below(folder: str) -> set[str]:
    """The folders that the modules in ``folder`` may use."""
    rule = folder if folder in BELOW else f"{folder.rpartition('.')[0]}.*"
    own = BELOW[rule] | {folder}
    return own if folder in SHARED or folder.startswith("studio.") else own | SHARED


def test_the_folders_use_others_only_downwards():
    found = {
        (module, target)
        for module, targets in import_graph().items()
        if (folder := folder_of(module))
        for target in targets
        if target.partition(".")[0] == folder.partition(".")[0]
        and (other := folder_of(target))
        and other not in allowed_below(folder)
    }
    assert sorted(found) == []


def test_the_platform_knows_no_engine_that_only_features_use():
    """Painting is the platform's; what it is to know of others, their features declare."""
    found = [
        f"{module} imports {target}"
        for module, targets in import_graph().items()
        if module.startswith(("studio.core.", "studio.page.", "studio.api."))
        for target in targets
        if target.startswith(("pipelines.chat", "pipelines.clustering"))
    ]
    assert found == []


def test_folders_are_told_apart():
    assert folder_of("pipelines.diffusion.control.paint") == "pipelines.diffusion.control"
    assert folder_of("pipelines.diffusion.lora.merge") == "pipelines.diffusion"
    assert folder_of("studio.features.chat.tab") == "studio.features.chat"
    assert folder_of("studio.features") == folder_of("app") == ""
    assert "studio.features.chat" not in allowed_below("studio.features.painting")
