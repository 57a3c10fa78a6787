"""Whatever is called with whatever memory, the engine answers as a kernel, and keeps nothing.

An input is a story of some calls of bpf(2) on a new engine: half valid ones, as the twin test
writes them, with bytes, sizes, commands and pointers spoiled at random, and others that are random
from the first byte. An answer is a number or an OSError with an errno that bpf(2) has. When the
story is over, all is closed, unpinned and detached, and then no object is left in any space of IDs.

With pytest this is a small number of stories. As a program it runs as long as one likes:

    python tests/fuzz/test_engine_fuzz.py [--seconds N] [--seed N] [--keep FOLDER]

The seed is that of the first story, the others count on from it. A story that fails is kept in
FOLDER as text; `--seed N --seconds 0` plays it again.
"""

from __future__ import annotations

import argparse
import errno
import random
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bpflens.abi.attrs import BtfLoad
from bpflens.abi.enums import Cmd
from bpflens.engine import Engine
from bpflens.engine.bpffs import Directory, Pin
from bpflens.engine.creds import Cap, Creds
from bpflens.engine.links.base import Link
from bpflens.engine.tasks import Task
from bpflens.errors import ENOTSUPP
from bpflens.port.memory import Memory
from bpflens.testing.on_engine import few_types
from tests.fuzz.test_btf_fuzz import damaged, random_types
from tests.twin.callers import engine_callers, named_types
from tests.twin.generate import Generator
from tests.twin.sides import Side
from tests.twin.steps import BAD
from tests.twin.surroundings import engine_surroundings

LENGTH = 150
"""Calls of a story."""
MACHINE = 1 << 24
"""Bytes of the engine's machine: so ENOMEM comes before Python's own memory is in danger."""

ERRNOS = frozenset(
    {
        errno.E2BIG, errno.EACCES, errno.EAFNOSUPPORT, errno.EAGAIN, errno.EBADF, errno.EBADFD,
        errno.EBUSY, errno.EEXIST, errno.EFAULT, errno.EINVAL, errno.EIO, errno.EISDIR,
        errno.EMFILE, errno.ENAMETOOLONG, errno.ENODEV, errno.ENOENT, errno.ENOLINK, errno.ENOMEM,
        errno.ENOSPC, errno.ENOTDIR, errno.ENOTSOCK, errno.EOPNOTSUPP, errno.EOVERFLOW,
        errno.ENXIO, errno.EPERM, errno.EPROTO, errno.ERANGE, errno.ESRCH, errno.ESTALE,
        ENOTSUPP,
    }
)  # fmt: skip
"""What the manual page and the kernel's own code say that bpf(2) may answer."""

WORDS = (0, 1, 2, 3, 4, 7, 8, 16, 31, 64, 255, 4096, 1 << 16, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass
class Sent:
    """A call as it was made, to be told if it fails."""

    cmd: int
    size: int
    attr: bytes
    buffers: list[bytes]

    def __str__(self) -> str:
        name = Cmd(self.cmd).name if self.cmd < 64 else str(self.cmd)
        buffers = "".join(f"\n    [{at}] {data.hex()}" for at, data in enumerate(self.buffers))
        return f"{name} size {self.size} attr {self.attr.hex()}{buffers}"


class Story:
    """One engine, and calls at its door."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        release = self.chance.choice(("6.1", "6.12", "6.18", "6.18"))
        policy = self.chance.choice(("owner", "linux"))
        self.engine = Engine(release, policy, self.chance.randrange(1, 5), vmlinux=VMLINUX)
        self.engine.memory = MACHINE
        self.kept = spaces(self.engine)
        uid = self.chance.choice((0, 0, 0, 1000))
        caps: list[int] = (
            [Cap.BPF, Cap.PERFMON, Cap.NET_ADMIN] if self.chance.random() < 0.8 else []
        )
        files = self.chance.choice((20, 64, 4096, 4096))
        self.task: Task = self.engine.task(uid, caps=caps if uid else None, nofile=files)
        self.side = Side(
            engine_callers(self.engine, self.task), named_types(VMLINUX),
            engine_surroundings(self.engine, self.task), pid=self.task.pid,
        )  # fmt: skip
        self.generator = Generator(seed, self.engine.cpus)
        self.last: Sent | None = None
        self.calls = 0
        self.refused = 0

    def play(self) -> None:
        """Make the calls. Raises whatever is not an answer."""
        for _ in range(LENGTH):
            self.chance.choices((self.half_valid, self.junk, self.types), (75, 23, 2))[0]()

    def half_valid(self) -> None:
        """A step of the twin test, with some of its bytes spoiled."""
        step = self.generator.next()
        if step.close is not None:
            self.side.run(step)
            return
        mem = Memory()
        attr, buffers = self.side.fill(step, mem)
        cmd, size = step.cmd, len(attr) if step.size < 0 else step.size
        if self.chance.random() < 0.3:
            for _ in range(self.chance.choice((1, 1, 1, 2, 8))):
                self.spoil(self.chance.choice((attr, attr, *buffers)))
        if self.chance.random() < 0.02:
            cmd = self.chance.randrange(40)
        fd = self.call(cmd, mem, attr, size, buffers)
        if fd is not None and step.makes and fd in self.task.files.files:
            self.side.fds[step.number] = fd
            with suppress(OSError, KeyError):
                self.side.learn(step, fd)

    def spoil(self, data: bytearray) -> None:
        """Other bytes in one place."""
        if not data:
            return
        at = self.chance.randrange(len(data))
        width = self.chance.choice((1, 1, 4, 4, 8))
        at -= at % width
        word = self.chance.choice(
            (*WORDS, self.chance.getrandbits(32), self.chance.getrandbits(64))
        )
        piece = (word & (1 << 8 * width) - 1).to_bytes(width, "little")[: len(data) - at]
        data[at : at + len(piece)] = piece

    def junk(self) -> None:
        """Any command with random words, which may be fds, addresses, or the ends of buffers."""
        chance = self.chance
        mem = Memory()
        buffers = [
            bytearray(chance.randbytes(chance.choice((1, 4, 8, 16, 64, 300, 4096))))
            if chance.random() < 0.5
            else bytearray(chance.choice((4, 8, 64, 512)))
            for _ in range(chance.randrange(4))
        ]
        places = [(mem.pin(buffer), len(buffer)) for buffer in buffers]
        attr = bytearray(chance.randbytes(4 * chance.choice((0, 1, 2, 4, 8, 20, 36, 42, 60))))
        for at in range(0, len(attr), 4):
            attr[at : at + 4] = self.word().to_bytes(4, "little")
        for _ in range(chance.randrange(4)):
            if places and len(attr) >= 8:
                address, length = chance.choice(places)
                at = chance.randrange(0, len(attr) - 7, 8)
                address += chance.choice((0, 0, 0, 0, 1, length - 1, length))
                attr[at : at + 8] = address.to_bytes(8, "little")
        cmd = chance.choice((chance.randrange(40), chance.randrange(40), chance.getrandbits(32)))
        size = chance.choice((len(attr), len(attr), len(attr), chance.choice(WORDS)))
        self.call(cmd, mem, attr, size, buffers)

    def types(self) -> None:
        """BTF_LOAD of types that refer to each other at random."""
        mem = Memory()
        data = bytearray(damaged(self.chance, random_types(self.chance)))
        attr = bytearray(BtfLoad(btf=mem.pin(data), btf_size=len(data)).encode())
        self.call(Cmd.BTF_LOAD, mem, attr, len(attr), [data])

    def word(self) -> int:
        """A number for an attr: nothing, an fd, or anything."""
        kind = self.chance.random()
        if kind < 0.45:
            return 0
        if kind < 0.75:
            return self.chance.randrange(24)
        return self.chance.choice((*WORDS, BAD, self.chance.getrandbits(32)))

    def call(
        self, cmd: int, mem: Memory, attr: bytearray, size: int, buffers: list[bytearray]
    ) -> int | None:
        """Call, and judge the answer; None if it is an errno."""
        self.calls += 1
        self.last = Sent(cmd, size, bytes(attr), [bytes(buffer) for buffer in buffers])
        at = mem.pin(attr) if self.chance.random() > 0.01 else BAD
        try:
            result = self.task.bpf(cmd, at, size, mem)
        except OSError as error:
            self.refused += 1
            if error.errno not in ERRNOS:
                raise AssertionError("not an errno of bpf(2)") from error
            return None
        assert 0 <= result < 1 << 31, result
        return result

    def finish(self) -> None:
        """Give everything back, and look whether it is gone."""
        self.last = None
        netns = self.task.netns
        self.task.exit()
        for mount in self.engine.mounts.values():
            unpin(mount)
        for cgroup in reversed(list(self.engine.cgroup.family())):
            if cgroup.parent:
                cgroup.remove()
        for device in list(netns.devices.values()):
            device.remove()
        for there in netns.hooks.values():
            for one in there:
                if not isinstance(one, Link):
                    one.drop()
        self.engine.work()
        left = {
            kind: [self.engine.ids[kind].get(id) for id in ids - self.kept[kind]]
            for kind, ids in spaces(self.engine).items()
        }
        assert not any(left.values()), f"left behind: {left}"


def spaces(engine: Engine) -> dict[str, set[int]]:
    """The IDs in use."""
    return {kind: set(idr.objects) for kind, idr in engine.ids.items()}


def unpin(directory: Directory) -> None:
    """Remove what is pinned there and below."""
    for name, entry in list(directory.entries.items()):
        if isinstance(entry, Pin):
            directory.unlink(name, Creds())
        elif isinstance(entry, Directory):
            unpin(entry)


def run(seed: int) -> Story:
    """One story from beginning to end."""
    story = Story(seed)
    try:
        story.play()
        story.finish()
    except BaseException as error:
        error.add_note(f"in the story of seed {seed}, call {story.calls}: {story.last}")
        raise
    return story


VMLINUX = few_types()


@pytest.mark.parametrize("seed", range(0, 200, 20))
def test_any_story_gets_answers_and_leaves_nothing(seed: int) -> None:
    for number in range(seed, seed + 4):
        run(number)


# The big run


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    asked.add_argument("--seconds", type=float, default=60)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    args = asked.parse_args()
    print(f"stories of {LENGTH} calls from seed {args.seed}, {args.seconds:g} s", flush=True)
    seed: int = args.seed
    calls = refused = failed = 0
    end = time.monotonic() + args.seconds
    while True:
        try:
            story = run(seed)
            calls += story.calls
            refused += story.refused
        except Exception:
            failed += 1
            calls += LENGTH
            args.keep.mkdir(parents=True, exist_ok=True)
            (args.keep / f"engine-{seed}.txt").write_text(traceback.format_exc())
            print(f"seed {seed} failed, see {args.keep}/engine-{seed}.txt", flush=True)
        seed += 1
        if time.monotonic() >= end:
            break
    print(f"{seed - args.seed} stories, {calls} calls, {refused} refused, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
