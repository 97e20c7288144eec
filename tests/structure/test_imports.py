"""What must answer at once imports no heavy library."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.structure.sources import ROOT

HEAVY = ["torch", "torchvision", "diffusers", "transformers", "openvino", "scipy", "sklearn",
         "numba", "umap", "controlnet_aux", "cv2", "numpy"]  # fmt: skip
# One after the other in one process, the lightest first; of numpy the page has need.
STEPS = {
    "listing preprocessors": """
from pipelines.preprocessors import registry, weights
for preprocessor in registry.PREPROCESSORS.values():
    preprocessor.parameters().model_dump()
for name in weights.WEIGHTS:
    weights.is_here(name, home)
""",
    "listing models": """
import pipelines.core.cache
from pipelines.models.catalog import Catalog
Catalog(home).models()
""",
    "listing samplers": """
from pipelines.diffusion.samplers import Samplers
list(Samplers())
""",
    "resolving a request": "import pipelines.diffusion.resolving, pipelines.diffusion.styles",
    "fetching by a real client": "import pipelines.models.downloads",
    "the page": "import studio.page.shell",
    "the studio": """
import studio.core.accounts.accounts, studio.app, studio.core.services, studio.serving
""",
}
PROGRAM = """
import json, pathlib, sys
heavy, steps, home = json.loads(sys.argv[1])
found = {}
for name, code in steps.items():
    before = set(sys.modules)
    exec(code, {"home": pathlib.Path(home)})
    found[name] = [each for each in heavy if each in sys.modules and each not in before]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def heavy_imports(tmp_path_factory) -> dict[str, list[str]]:
    """The heavy libraries that each step has imported."""
    given = json.dumps([HEAVY, STEPS, str(tmp_path_factory.mktemp("home"))])
    command = [sys.executable, "-c", PROGRAM, given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("step", STEPS)
def test_no_heavy_library_is_imported(heavy_imports, step):
    allowed = {"numpy"} if step != "listing preprocessors" else set()
    assert set(heavy_imports[step]) <= allowed
