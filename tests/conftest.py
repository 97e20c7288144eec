"""Fixtures that every test may use: a home folder with the smallest real model in it."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

os.environ["HF_HUB_OFFLINE"] = "1"  # before any import of the hub: no test may leave the machine
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    # Each worker has its share of the cores; more threads than cores would wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

import httpx

from pipelines.core.cache import ModelCache
from pipelines.models.catalog import Catalog
from tests import needs
from tests.patience import PATIENCE
from tests.prepared import prepare, prepared_folder

# Without compiled modules each worker, and each process that a test starts, would compile all of
# them anew: a third of what it takes to collect the tests.
sys.dont_write_bytecode = False
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
# What tests leave behind is small; to search for it after every 700 objects takes longer than they.
gc.set_threshold(50_000, 20, 50)
# httpx gives up after 5 s by itself, which a busy machine may take for any answer.
limits = httpx._config.DEFAULT_TIMEOUT_CONFIG
limits.connect = limits.read = limits.write = limits.pool = PATIENCE


@functools.cache
def _ssl_context(*given: object) -> ssl.SSLContext:
    """Each client would read all certificates anew, which takes as long as ten requests."""
    verify, cert, trust_env, *_ = given
    return httpx.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)


httpx._transports.default.create_ssl_context = lambda verify=True, cert=None, trust_env=True: (
    _ssl_context(verify, cert, trust_env, *map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))
)

TINY = "tiny-sd1"
SWEEPS = Path(__file__).with_name("sweeps")
TWIN_SOURCES = ("tests/*twins.py", "tests/tiny_parts.py", "pipelines/diffusion/autoencoder.py")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(needs)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A file's bytes are no name: the time within would call a test otherwise in each worker."""
    return argname if isinstance(val, bytes) and len(val) > 40 else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The sweeps, which are deep, are not even imported where no deep test is to run."""
    quick = config.option.markexpr.startswith("not deep")
    return True if quick and collection_path == SWEEPS else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Rewrites the assertions of all tests before the workers start: each would do it for itself.

    It is what pytest's own hook for imports does before it runs a module.
    """
    state = config.stash[rewrite.assertstate_key]
    for path in Path(__file__).parent.rglob("*.py"):
        if path.name.startswith("test_") or path.name == "conftest.py":
            compiled = rewrite.get_cache_dir(path) / f"{path.stem}{rewrite.PYC_TAIL}"
            if rewrite._read_pyc(path, compiled) is None:
                compiled.parent.mkdir(exist_ok=True)
                source_hash, code = rewrite._rewrite_test(path, config)
                rewrite._write_pyc(state, code, source_hash, compiled)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What the imports make stays: it need not be searched for garbage again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        freeze_what_stays()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    result = yield
    if nextitem is not None and nextitem.path != item.path:
        freeze_what_stays()
    return result


def freeze_what_stays() -> None:
    """What is alive between two files is searched for garbage no more: it lives to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def twin_folder(tmp_path_factory: pytest.TempPathFactory):
    """``twin_folder(family)``: the diffusers folder of a family's twin; treat it as read-only."""
    kept = prepared_folder("twins", *TWIN_SOURCES)
    twins = tmp_path_factory.mktemp("twins")

    def folder(family: str) -> Path:
        if not (twins / family).exists():
            from tests.twins import make_twin

            made = prepare(kept / family, lambda at: make_twin(family, at))
            shutil.copytree(made, twins / family)
        return twins / family

    return folder


@pytest.fixture(scope="session")
def twin_home(tmp_path_factory: pytest.TempPathFactory, twin_folder) -> Path:
    """A home folder whose ``models/`` holds ``tiny-sd1``; treat it as read-only."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(twin_folder("sd1"), home / "models" / TINY)
    return home


@pytest.fixture(scope="session")
def control_folder(tmp_path_factory: pytest.TempPathFactory, twin_folder) -> Path:
    """A ``control/`` with ``tiny-net`` and ``tiny-adapter``, random and awake, for ``tiny-sd1``."""
    import torch
    from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel

    folder = tmp_path_factory.mktemp("control")
    unet = UNet2DConditionModel.from_pretrained(twin_folder("sd1") / "unet")
    torch.manual_seed(3)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 8, 8))
    for layer in (*net.controlnet_down_blocks, net.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, std=0.2)  # they begin with zeros, and steer nothing
    net.save_pretrained(folder / "tiny-net")
    adapter = T2IAdapter(3, [16, 32], num_res_blocks=1, downscale_factor=8)
    adapter.save_pretrained(folder / "tiny-adapter")
    return folder


@pytest.fixture(scope="session")
def catalog(twin_home: Path) -> Catalog:
    return Catalog(twin_home)


@pytest.fixture(scope="session")
def cache(catalog: Catalog) -> ModelCache:
    """A cache on the CPU that loads the catalog's models; ``tiny-sd1`` takes 1.3 MB."""
    from pipelines.diffusion.loading import load

    def load_by_name(name, device, notes):
        return load(catalog.get(name), device, notes, offline=True, home=catalog.home)

    return ModelCache(load_by_name, device="cpu", budget_bytes=2**30)
