"""The live kernel under test: what a test makes here is gone after it, also when it fails."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

import bpflens
from bpflens.cli import main
from bpflens.model.system import System
from bpflens.testing.on_linux import LinuxBench

NOBODY = 65534


@pytest.fixture
def system() -> Iterator[System]:
    """The live kernel; skips where it is not ours to look at."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with bpflens.open() as system:
        yield system


@pytest.fixture
def bench() -> Iterator[LinuxBench]:
    """Namespaces of our own."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = LinuxBench()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the instructions for this kernel are kept: they are made once."""
    return str(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def held(system: System) -> Iterator[Callable[[int], int]]:
    """Keeps an fd open until the test ends: `fd = held(program(calls))`."""
    with ExitStack() as stack:

        def hold(fd: int) -> int:
            stack.callback(system.calls.close, fd)
            return fd

        yield hold


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A bpffs of our own."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = tmp_path / "bpffs"
    path.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


class Ran(NamedTuple):
    """What a run of the command line gave."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    """Run the command line in a child process, if need be as another user.

    A fork, and not a new Python: another user may not be able to read the interpreter. Nor the
    modules: they are all imported before.
    """
    for module in pkgutil.walk_packages(bpflens.__path__, "bpflens."):
        if not module.name.startswith(("bpflens.testing", "bpflens.__main__")):
            importlib.import_module(module.name)

    def run(*arguments: str, uid: int = 0) -> Ran:
        out, err = tmp_path / "stdout", tmp_path / "stderr"
        child = os.fork()
        if child == 0:
            status = 70
            try:
                with out.open("w") as stdout, err.open("w") as stderr:
                    if uid:
                        os.setgroups([])
                        os.setresgid(uid, uid, uid)
                        os.setresuid(uid, uid, uid)
                    with redirect_stdout(stdout), redirect_stderr(stderr):
                        try:
                            status = main(list(arguments))
                        except BaseException:
                            traceback.print_exc()
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return Ran(status, out.read_text(), err.read_text())

    return run


def open_fds() -> set[str]:
    """The fds that this process has open (but for the one that lists them)."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        except FileNotFoundError:
            continue
    return found
