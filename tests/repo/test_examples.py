"""Every example runs and does what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import bpflens
from bpflens.abi.enums import ProgType
from bpflens.abi.infos import ProgInfo
from bpflens.testing.builders import program

ROOT = Path(__file__).resolve().parents[2]
RECORDING = "examples/busy.cassette.gz"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_all_programs_of_a_recording_are_walked_and_printed() -> None:
    done = run(sys.executable, "examples/walk_programs.py", RECORDING)
    assert done.stderr == ""
    assert "xdp_balance tag " in done.stdout
    assert "(95) exit" in done.stdout


@pytest.fixture
def device(tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """(network namespace, device in it, tag of the XDP program on that device)."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and ip (iproute2)")
    name = f"bpfl-{os.getpid()}"
    mount = tmp_path / "bpffs"
    mount.mkdir()
    with ExitStack() as undo, bpflens.open() as system:
        run("ip", "netns", "add", name).check_returncode()
        undo.callback(run, "ip", "netns", "del", name)
        run("mount", "-t", "bpf", "bpf", str(mount)).check_returncode()
        undo.callback(run, "umount", "-l", str(mount))
        fd = program(system.calls, "r0 = 2; exit", ProgType.XDP, name="bpfl_xdp")
        undo.callback(system.calls.close, fd)
        system.calls.obj_pin(fd, f"{mount}/xdp")
        inside(name, "ip", "link", "add", "a0", "type", "veth", "peer", "name", "a1")
        # Not `ip netns exec`, which mounts a sysfs of its own over what is under /sys.
        inside(name, "ip", "link", "set", "a0", "xdpgeneric", "pinned", f"{mount}/xdp")
        yield name, "a0", system.calls.info(fd, ProgInfo).tag.hex()


def inside(netns: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a network namespace."""
    return run("nsenter", f"--net=/run/netns/{netns}", *command)


def test_the_tag_of_the_program_on_an_interface_is_found(device: tuple[str, str, str]) -> None:
    netns, name, tag = device
    done = inside(netns, sys.executable, "examples/xdp_tag.py", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{name}: skb program ")
    assert tag in done.stdout
    other = inside(netns, sys.executable, "examples/xdp_tag.py", "a1")
    assert (other.returncode, other.stdout) == (1, "a1: no XDP program\n")
