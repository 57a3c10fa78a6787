"""Record `examples/busy.cassette.gz`: a machine with real tools and a small load balancer.

    python -m tools.vm run 6.12 --share DIR -- sh -c \\
        'unshare --mount --net python -m tools.record_busy /tmp/FILE && cp /tmp/FILE /run/share'

Needs root, clang, bpftool, bpftrace, libbpf-tools and iproute2. A guest has no objects, processes
and devices but its own; what is mounted and a recording has no business to tell of is unmounted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import bpflens
from bpflens.cli import main
from bpflens.model.system import System
from tests.kernel import busy

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "examples" / "busy.bpf.c"
PINS = Path("/sys/fs/bpf")
KEPT = ("/", "/proc", "/sys", "/dev", "/tmp")


def unmount_the_rest() -> None:
    """Leave only what every machine has."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in reversed(mounts):
        if path not in KEPT:
            subprocess.run(["umount", "-l", path], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["mount", "-t", "bpf", "bpf", PINS], check=True)


def load() -> None:
    """Compile and load the balancer, pinned."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "busy.bpf.o"
        subprocess.run(
            ["clang", "-O2", "-g", "-target", "bpf", f"-ffile-prefix-map={ROOT}=.",
             "-c", SOURCE, "-o", compiled],
            check=True,
        )  # fmt: skip
        pins = PINS / "balancer"
        subprocess.run(
            ["bpftool", "prog", "loadall", compiled, pins, "pinmaps", pins / "maps"], check=True
        )


def attach() -> None:
    """Put the balancer on a device of our own."""
    subprocess.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "eth1"], check=True)
    program = PINS / "balancer" / "xdp_balance"
    subprocess.run(
        ["bpftool", "net", "attach", "xdp", "pinned", program, "dev", "eth0"], check=True
    )


def fill(system: System) -> None:
    """Some backends, and a program in the first slot."""
    for number in range(1, 4):
        value = f"{10:02x}00000{number}5000{number:02x}00" + "00" * 8
        _update("backends", f"{number:02x}000000", value)
    with system.pinned(str(PINS / "balancer" / "xdp_pick_backend")) as program:
        _update_slot(system, program.fd)


def _update(map: str, key: str, value: str) -> None:
    subprocess.run(
        ["bpftool", "map", "update", "pinned", PINS / "balancer" / "maps" / map,
         "key", "hex", *_words(key), "value", "hex", *_words(value)],
        check=True,
    )  # fmt: skip


def _update_slot(system: System, prog_fd: int) -> None:
    fd = system.calls.obj_get(str(PINS / "balancer" / "maps" / "jumps"))
    try:
        system.calls.map_update(fd, bytes(4), prog_fd.to_bytes(4, sys.byteorder))
    finally:
        system.calls.close(fd)


def _words(text: str) -> list[str]:
    return [text[at : at + 2] for at in range(0, len(text), 2)]


def record(path: str) -> int:
    """Do all of it."""
    if os.geteuid() != 0 or busy.missing():
        sys.exit(f"needs root and: {', '.join(busy.missing()) or 'nothing else'}")
    with busy.tools():
        unmount_the_rest()
        load()
        attach()
        with bpflens.open() as system:
            fill(system)
        return main(["record", path])


if __name__ == "__main__":
    sys.exit(record(sys.argv[1]))
