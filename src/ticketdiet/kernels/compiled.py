"""The kernels' C++ source, compiled once per machine with the system's compiler, and loaded.

The source is part of the package. The first use compiles it for the CPU at hand (a few seconds) into the user's cache.
The name of the file holds a digest of the source, the flags, and what the compiler says of itself and of the CPU, and a
digest of the library itself, which is checked before it is loaded. The file is written beside its place and renamed, so
processes that start together do no harm to each other. Where that cannot be done, the
stock kernels of torch are used, and ``Kernels.reason`` says why.

``TICKETDIET_KERNELS`` chooses: ``off`` for the stock kernels, ``avx2`` or ``generic`` for code that stays
below what the CPU offers. ``CXX`` names another compiler.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from ticketdiet.core.folders import user_cache

SOURCE = Path(__file__).parent / "source"
VERSION = 2  # of the C interface; td_version() answers the same
SECONDS_TO_COMPILE = 120
_COMMON = ("-std=c++20", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi", "-fPIC", "-pthread")
_FOR_CPU = {
    "": (("-march=native",), ("-mcpu=native",), ()),
    "avx2": (("-march=x86-64-v3",),),
    "generic": ((),),
}


@dataclass(frozen=True)
class Kernels:
    """The loaded library, or why there is none.

    Attributes:
        library: The shared library, or None.
        reason: Empty, or one phrase that says why there is no library.
        target: What it was compiled for: ``AVX-512``, ``AVX2``, ``NEON`` or ``generic``.
    """

    library: ctypes.CDLL | None
    reason: str = ""
    target: str = ""

    def __bool__(self) -> bool:
        return self.library is not None


class _NotBuilt(Exception):
    """Why the kernels could not be had, in words that finish the sentence ``not used: ...``."""


def kernels() -> Kernels:
    """Return the kernels that the environment asks for; compile them if nobody has yet."""
    return _kernels(
        os.environ.get("TICKETDIET_KERNELS", "").strip().lower(), os.environ.get("CXX", ""), user_cache() / "kernels"
    )


@cache
def _kernels(chosen: str, compiler: str, folder: Path) -> Kernels:
    try:
        if chosen == "off":
            raise _NotBuilt("TICKETDIET_KERNELS=off")
        if chosen not in _FOR_CPU and chosen != "auto":
            raise _NotBuilt(f"TICKETDIET_KERNELS is {chosen!r}, not auto, avx2, generic or off")
        command = find_compiler(compiler)
        flags, macros = _flags(command, _FOR_CPU["" if chosen == "auto" else chosen])
        path = _built(command, flags, macros, folder)
        return Kernels(_load(path), target=_target(macros))
    except _NotBuilt as error:
        return Kernels(None, str(error))
    except OSError as error:
        return Kernels(None, f"the compiled kernels cannot be kept or loaded ({error})")


def find_compiler(named: str = "") -> list[str]:
    """Return the command of the C++ compiler: ``named``, or the first of c++, g++ and clang++ on the path."""
    if named:
        words = shlex.split(named)
        if words and shutil.which(words[0]):
            return words
        raise _NotBuilt(f"CXX names {named!r}, which is not on the path")
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise _NotBuilt("no C++ compiler (c++, g++ or clang++) is on the path")


def _flags(compiler: list[str], choices: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], str]:
    """Return the first of ``choices`` that the compiler takes, and the macros it then defines."""
    for choice in choices:
        asked = [*compiler, *_COMMON, *choice, "-dM", "-E", "-x", "c++", os.devnull]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS_TO_COMPILE)
        if answer.returncode == 0:
            return choice, answer.stdout
    raise _NotBuilt(f"{compiler[0]} does not compile C++20: {_last_line(answer.stderr)}")


def _target(macros: str) -> str:
    named = {"__AVX512F__": "AVX-512", "__AVX2__": "AVX2", "__ARM_NEON": "NEON"}
    return next((name for macro, name in named.items() if f"#define {macro} " in macros), "generic")


def _built(compiler: list[str], flags: tuple[str, ...], macros: str, folder: Path) -> Path:
    """Return the shared library, compiled if it is not there yet."""
    sources = sorted(SOURCE.glob("*.?pp"))
    if not sources:
        raise _NotBuilt(f"the source of the kernels is missing from {SOURCE}")
    parts = [
        *(path.read_bytes() for path in sources),
        " ".join([*compiler, *_COMMON, *flags]).encode(),
        macros.encode(),
    ]
    digest = hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    stem = f"kernels-{digest[:32]}"
    for path in sorted(folder.glob(f"{stem}-*.so")):
        if path.stem == f"{stem}-{_digest(path)}":
            return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        made = Path(beside) / "kernels.so"
        compile_to(made, compiler, flags)
        path = folder / f"{stem}-{_digest(made)}.so"
        os.replace(made, path)
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def compile_to(path: Path, compiler: list[str], flags: tuple[str, ...]) -> None:
    """Compile the source to the shared library ``path``."""
    units = [str(unit) for unit in sorted(SOURCE.glob("*.cpp"))]
    command = [*compiler, *_COMMON, *flags, "-shared", *units, "-o", str(path)]
    try:
        made = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_COMPILE)
    except subprocess.TimeoutExpired:
        raise _NotBuilt(f"{compiler[0]} took more than {SECONDS_TO_COMPILE} seconds") from None
    if made.returncode:
        raise _NotBuilt(f"{compiler[0]} failed: {_last_line(made.stderr)}")


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.td_version.restype = ctypes.c_int64
    if library.td_version() != VERSION:
        raise _NotBuilt(f"{path} has another interface; delete it")
    library.td_use_threads(*threads_of_torch())
    return library


def threads_of_torch() -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
    """Return what runs work on torch's OpenMP threads and what numbers them, or nulls where they are not GNU's."""
    root = Path(torch.__file__).parent
    for path in (*root.glob("lib/libgomp*.so*"), *root.parent.glob("torch.libs/libgomp*.so*")):
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(path))
            run, number = library.GOMP_parallel, library.omp_get_thread_num
            return ctypes.cast(run, ctypes.c_void_p), ctypes.cast(number, ctypes.c_void_p)
    return ctypes.c_void_p(None), ctypes.c_void_p(None)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line] or text.splitlines() or ["no message"]
    return lines[0][:200]
