"""Commands that are killed at random moments: `python -m tests.kernel.killed TIMES SEED [WHICH]`.

It has to be the first process of mount, network and PID namespaces of its own: what a killed
command may leave is looked for in them. It prints a line for each command.
"""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import bpflens
from bpflens.abi.attrs import LinkCreate
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.abi.infos import MapInfo
from bpflens.model.system import PROGRAM, System
from bpflens.port.calls import Calls
from bpflens.port.recording import load
from bpflens.testing.bench import eventually
from bpflens.testing.builders import map, program, u32, u64

OLD, NEW = u64(0x1111111111111111), u64(0x2222222222222222)
SHORTEST = 0.02
"""Seconds before which Python itself has hardly begun."""


class Killed(NamedTuple):
    """A command, what makes the world before each run, and what must hold after it."""

    words: str
    before: Callable[[], None]
    after: Callable[[], None]


class World:
    """Objects of our own to change, and a folder for files."""

    def __init__(self, system: System, folder: Path, undo: ExitStack) -> None:
        self.system, self.calls, self.folder = system, system.calls, folder
        self._undo = undo
        self.bpffs = folder / "bpffs"
        self.bpffs.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", self.bpffs], check=True)
        undo.callback(lambda: subprocess.run(["umount", "-l", self.bpffs], check=True))
        self.hash = self._held(map(self.calls, MapType.HASH, value_size=8, max_entries=8))
        self.queue = self._held(map(self.calls, MapType.QUEUE, value_size=8, max_entries=8))
        self.id_of_hash, self.id_of_queue = (
            map_id(self.calls, self.hash),
            map_id(self.calls, self.queue),
        )
        self.prog = self._held(program(self.calls, type=ProgType.FLOW_DISSECTOR, name="kill_me"))
        self.netns = os.open("/proc/self/ns/net", os.O_RDONLY)
        undo.callback(os.close, self.netns)
        self.target = folder / "there.cassette"
        system_of_demo = ["--on", "engine:demo", "record", str(self.target)]
        subprocess.run([sys.executable, "-m", "bpflens", *system_of_demo], check=True, stderr=-3)
        self.good = self.target.read_bytes()

    def _held(self, fd: int) -> int:
        self._undo.callback(self.calls.close, fd)
        return fd

    def commands(self) -> dict[str, Killed]:
        """By a name."""
        hash, queue, pin = self.id_of_hash, self.id_of_queue, self.bpffs / "pin"
        link = self.bpffs / "link"

        def nothing() -> None:
            return

        return {
            "record": Killed(f"record {self.target}", self.put_recording, self.check_recording),
            "packed": Killed(f"record {self.folder}/new.gz", nothing, self.check_new),
            "--record": Killed(
                f"--record {self.target} map list", self.put_recording, self.check_recording
            ),
            "set": Killed(
                f"map set {hash} 1 hex:{NEW.hex()}", self.put_element, self.check_element
            ),
            "delete": Killed(f"map delete {hash} 1", self.put_element, self.check_element),
            "push": Killed(f"map push {queue} hex:{NEW.hex()}", self.empty, self.check_queue),
            "pop": Killed(f"map pop {queue}", self.put_queue, self.check_queue),
            "detach": Killed(f"link detach pin:{link} --yes", self.put_link, self.drop_link),
            "unpin": Killed(f"unpin {pin} --yes", self.put_pin, nothing),
            "programs": Killed("prog list", nothing, nothing),
            "attachments": Killed("attach list", nothing, nothing),
        }

    def put_recording(self) -> None:
        self.target.write_bytes(self.good)

    def check_recording(self) -> None:
        if self.target.read_bytes() != self.good:
            load(str(self.target))
            assert stat.S_IMODE(self.target.stat().st_mode) == 0o600
        self.check_unfinished()

    def check_new(self) -> None:
        path = self.folder / "new.gz"
        if path.exists():
            load(str(path))
            path.unlink()
        self.check_unfinished()

    def check_unfinished(self) -> None:
        """At most one file, of our mode, whose name says whose it is."""
        left = [
            path for path in self.folder.iterdir()
            if path not in (self.target, self.bpffs, self.folder / "cache")
        ]  # fmt: skip
        assert len(left) <= 1, left
        for path in left:
            assert path.name.startswith((".there.cassette.bpflens-", ".new.gz.bpflens-")), path
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            path.unlink()

    def put_element(self) -> None:
        self.calls.map_update(self.hash, u32(1), OLD)

    def check_element(self) -> None:
        with suppress(bpflens.NotFound):
            assert self.calls.map_lookup(self.hash, u32(1), 8) in (OLD, NEW)

    def empty(self) -> None:
        while list(self.taken()):
            pass

    def put_queue(self) -> None:
        self.empty()
        self.calls.map_update(self.queue, b"", OLD)

    def check_queue(self) -> None:
        assert set(self.taken()) <= {OLD, NEW}

    def taken(self) -> Iterator[bytes]:
        try:
            yield self.calls.map_lookup_and_delete(self.queue, b"", 8)
        except (bpflens.NotFound, OSError):
            return

    def put_link(self) -> None:
        """One that its pin alone holds."""
        asked = LinkCreate(
            prog_fd=self.prog, target_fd=self.netns, attach_type=AttachType.FLOW_DISSECTOR
        )
        made: list[int] = []

        def free() -> bool:
            """A namespace has one such link; the last is freed a while after its pin."""
            with suppress(OSError):
                made.append(self.calls.link_create(asked))
            return bool(made)

        eventually(free, "the link before is gone")
        (fd,) = made
        self.calls.obj_pin(fd, str(self.bpffs / "link"))
        self.calls.close(fd)

    def drop_link(self) -> None:
        (self.bpffs / "link").unlink()

    def put_pin(self) -> None:
        path = self.bpffs / "pin"
        if not path.exists():
            self.calls.obj_pin(self.prog, str(path))


def map_id(calls: Calls, fd: int) -> int:
    return calls.info(fd, MapInfo).id


def readers(system: System) -> set[int]:
    """The programs by which a bpflens looks."""
    found = set()
    for id in system.ids(PROGRAM):
        try:
            with system.program(id) as each:
                if each.name.startswith("bpflens_"):
                    found.add(id)
        except (bpflens.BpflensError, OSError):
            continue
    return found


def others() -> set[str]:
    """The processes of this PID namespace besides ourselves."""
    pids = {name for name in os.listdir("/proc") if name.isdecimal()}
    return {pid for pid in pids - {str(os.getpid())} if _lives(pid)}


def _lives(pid: str) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def start(words: str, folder: Path) -> subprocess.Popen[bytes]:
    """A command, with its cache in that folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "bpflens", *words.split()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
    )


def kill_often(
    system: System, world: World, killed: Killed, times: int, chance: random.Random
) -> int:
    """Returns how many were still running when they were killed."""
    killed.before()
    begin = time.monotonic()
    start(killed.words, world.folder).wait()
    whole = time.monotonic() - begin
    killed.after()
    hit = 0
    seen: set[int] = set()
    for _ in range(times):
        killed.before()
        running = start(killed.words, world.folder)
        time.sleep(chance.uniform(SHORTEST, 1.05 * whole))
        hit += running.poll() is None
        running.kill()
        running.wait()
        seen |= readers(system)
        eventually(lambda: not others(), "every process of it has ended")
        killed.after()
    eventually(lambda: not seen & readers(system), "its programs are gone")
    return hit


def main(times: int, seed: int, which: list[str]) -> None:
    assert os.getpid() == 1, "run me by unshare --pid --fork --mount-proc"
    with tempfile.TemporaryDirectory() as name, bpflens.open() as system, ExitStack() as undo:
        folder = Path(name)
        world = World(system, folder, undo)
        for number, (key, killed) in enumerate(world.commands().items()):
            if not which or key in which:
                chance = random.Random(seed + number)
                begin = time.monotonic()
                hit = kill_often(system, world, killed, times, chance)
                took = time.monotonic() - begin
                print(f"{key}: {hit} of {times} killed on the way, {took:.0f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
