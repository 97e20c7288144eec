"""What a process that reads strangers' files may do besides computing: little.

``python -m pipelines.core.sandbox SETTINGS MODULE …`` gives up what the process does not need, then
runs the module as ``python -m MODULE …`` does. Linux' Landlock (https://docs.kernel.org/userspace-
api/landlock.html) then refuses it other people's files, programs, connections and processes; where
the kernel has it not, only the environment is poorer and no core is dumped.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import runpy
import signal
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.files import temporary_root
from pipelines.core.paths import ROOT

# What Python and libraries that compute look at. No key, token or proxy is among it.
_NAMES = {
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP"),
    *("TEMP", "VIRTUAL_ENV", "NUMBER_OF_PROCESSORS", "COMSPEC", "PATHEXT", "SYSTEMROOT", "WINDIR"),
    *("USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROCESSOR_ARCHITECTURE", "XDG_CACHE_HOME"),
}
_PREFIXES = (
    *("LC_", "PYTHON", "LD_", "DYLD_", "NIX_", "CONDA_", "OMP_", "GOMP_", "KMP_", "MKL_"),
    *("OPENBLAS_", "BLIS_", "VECLIB_", "NUMBA_", "CUDA_", "NVIDIA_", "HIP_", "ROCM_", "ROCR_"),
    *("HSA_", "GGML_", "VK_", "METAL_"),
)


_OF_THE_MACHINE = ("cpuinfo", "meminfo", "stat", "loadavg", "filesystems", "sys")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
_private: set[Path] = set()  # folders that no restricted process has


def clean_environment() -> dict[str, str]:
    """The environment variables that a process which only computes needs, as they are here."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _NAMES or name.upper().startswith(_PREFIXES)
    }


def environment_without_secrets() -> dict[str, str]:
    """This process's environment variables without keys and passwords.

    Those of the Hugging Face libraries stay, with their token: it is for processes that may
    download models.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("HF_", "HUGGING", "TOKENIZERS_")) or not _SECRET.search(name)
    }


def keep_private(folder: Path) -> None:
    """Hides a folder from restricted processes, except what their :class:`Files` name."""
    _private.add(folder)


@dataclass(frozen=True, slots=True)
class Files:
    """The files that a restricted process may have.

    It may read programs, libraries and what else the machine has, but for private folders, those
    with temporary files and the user's own.

    Attributes:
        writable: files, and folders with all that is in them, that it may read and change, wherever
            they are.
    """

    writable: Sequence[Path] = ()

    def to_json(self) -> str:
        """The files as JSON, for a process's command line."""
        hidden = [*_private, os.path.expanduser("~"), temporary_root()]
        return json.dumps([[os.path.abspath(path) for path in part]
                           for part in (hidden, self.writable)])  # fmt: skip


def limit_memory(bytes_allowed: int) -> None:
    """Limits the memory of this process, where the system can.

    Beyond the limit an allocation fails, or the process is ended.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (bytes_allowed, hard))


@contextlib.contextmanager
def limit_computing(seconds: float) -> Iterator[None]:
    """Ends this process by SIGPROF when the block inside has taken ``seconds`` of CPU time."""
    if not hasattr(signal, "setitimer"):  # on Windows whoever waits for the answer ends it
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def restrict(hidden: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Takes from this process what it does not need; to be called while there is one thread.

    Args:
        hidden: folders of which it may have only what is writable.
        writable: files and folders.

    Returns:
        Whether files, programs, connections and processes are refused to it.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what is in memory is somebody's
    if not sys.platform.startswith("linux"):
        return False
    needed = [ROOT, *sys.path, sys.prefix, sys.base_prefix]
    needed += os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    needed += [f"/proc/{name}" for name in _OF_THE_MACHINE]
    own = [Path("/dev"), Path(f"/proc/{os.getpid()}")]
    root = Path("/")  # which is the home of some users of services
    hidden = {Path(os.path.realpath(each)) for each in hidden} - {root}
    outside = _outside(hidden | {Path("/proc")})  # has what other processes hold
    return _confine([*outside, *map(Path, filter(None, needed))], [*own, *writable])


def _outside(hidden: set[Path]) -> Iterator[Path]:
    """All that there is but some folders: of each folder on the way to one, the other entries.

    What a link leads to is judged by where it lies itself.
    """
    hidden = {each for each in hidden if hidden.isdisjoint(each.parents)}
    ways = {parent for each in hidden for parent in each.parents}
    for folder in ways:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                path = Path(entry.path)
                if path not in hidden and path not in ways and not entry.is_symlink():
                    yield path


# --- Linux' Landlock: the numbers are those of <linux/landlock.h>, the same on all machines -------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # system calls
_ASK_VERSION, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38
_WRITE, _READ_FILE, _READ_FOLDER = 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = _WRITE | _READ_FILE | _TRUNCATE | _IOCTL | 1
# By version: how many rights on files are known; rights on TCP (to bind, to connect), and on
# sockets and processes beyond one's own.
_RIGHTS = ((0, 0, 0), (13, 0, 0), (14, 0, 0), (15, 0, 0), (15, 3, 0), (16, 3, 0), (16, 3, 3))


def _confine(readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Refuses this process all files but these, all programs, TCP, and others' processes."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    if version < 1:  # an older kernel, or one without it
        return False
    count, *further = _RIGHTS[min(version, len(_RIGHTS) - 1)]
    files = (1 << count) - 1
    asked = struct.pack("=3Q", files, *further)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = libc.syscall(_CREATE_RULESET, asked, len(asked), 0)
    if rules < 0:
        return False
    try:
        for paths, rights in ((readable, _READ_FILE | _READ_FOLDER), (writable, files & ~1)):
            for path in paths:
                with contextlib.suppress(OSError):  # it is not there
                    _allow(libc, rules, path, rights & files)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return libc.syscall(_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights &= -1 if os.path.isdir(path) else _OF_FILES
        libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    finally:
        os.close(handle)


def main() -> None:
    """Restricts this process, and runs a module in it."""
    settings, module = sys.argv[1:3]
    restrict(*([Path(each) for each in part] for part in json.loads(settings)))
    sys.argv[:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
