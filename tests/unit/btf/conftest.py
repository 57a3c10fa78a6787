"""What the tests of BTF share: this kernel's BTF, and the tools that serve as judges."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bpflens.btf import Btf

VMLINUX = Path("/sys/kernel/btf/vmlinux")


@pytest.fixture(scope="session")
def vmlinux_path() -> Path:
    """The running kernel's BTF as a file."""
    if not VMLINUX.exists():
        pytest.skip(f"this kernel has no {VMLINUX}")
    return VMLINUX


@pytest.fixture(scope="session")
def vmlinux(vmlinux_path: Path) -> Btf:
    """The running kernel's BTF, parsed."""
    return Btf.parse(vmlinux_path.read_bytes())


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Gives the path of a program, or skips the test that wants it as a judge."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find
