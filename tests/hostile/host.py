"""The host of a test: namespaces of its own, an honest program that is attached in one of them, an
honest pin, and a folder in which everybody may write."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from bpflens.abi.attrs import LinkCreate
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.abi.infos import MapInfo
from bpflens.testing.builders import map as new_map
from bpflens.testing.builders import program
from bpflens.testing.hooks import id_of, link_id
from bpflens.testing.on_linux import LinuxBench
from tests.hostile import fuse
from tests.hostile.actor import CONTAINER, Actor, Part, acting
from tests.hostile.lens import Look, look
from tests.hostile.witness import Witness


def name(part: Callable[..., Any]) -> str:
    """What a test with this parameter is called."""
    return part.__name__


class Host:
    """Where bpflens looks as root; `close` takes everything away."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.bench = LinuxBench()
        self._stack.callback(self.bench.close)
        self.calls = self.bench.calls
        self.folder = f"{self.bench.index_dir}/hostile"
        """A tmpfs, as a user's home or /tmp is."""
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o1777)
        self.fuse_device = f"{self.bench.index_dir}/fuse"
        os.mknod(self.fuse_device, 0o20666, os.makedev(*fuse.DEVICE))
        self.witness = Witness()
        self._stack.callback(self.witness.close)
        self._honest()

    def _honest(self) -> None:
        self.xdp = program(self.calls, "r0 = 2; exit", ProgType.XDP, name="honest_xdp")
        """Attached to a device of a network namespace that has a process."""
        self.xdp_id = id_of(self.calls, self.xdp)
        with self.bench.elsewhere():
            self.netns = os.stat("/proc/thread-self/ns/net").st_ino
            self.bench.set_xdp(self.bench.device(), self.xdp)
            other = program(self.calls, "r0 = 2; exit", ProgType.XDP, name="honest_link")
            device = self.bench.device()
            attr = LinkCreate(prog_fd=other, target_fd=device, attach_type=AttachType.XDP)
            self.link_id = link_id(self.calls, self.calls.link_create(attr))
        self.bpffs = self.bench.bpffs()
        self.pin = f"{self.bpffs}/honest"
        fd, self.map_id = self.map()
        self.calls.obj_pin(fd, self.pin)
        self.bench.files.close(fd)

    def map(self, name: str = "honest_map") -> tuple[int, int]:
        """A new map: its fd and its ID."""
        fd = new_map(self.calls, MapType.ARRAY, name=name)
        return fd, self.calls.info(fd, MapInfo).id

    def pinned(self, path: str, name: str = "pinned_map") -> int:
        """A new map that is pinned there and that nothing else holds: its ID."""
        fd, id = self.map(name)
        self.calls.obj_pin(fd, path)
        self.bench.files.close(fd)
        return id

    def act(self, part: Part, namespaces: int = CONTAINER, *, user: bool = False) -> Actor:
        """A process that does this until the test ends."""
        return self._stack.enter_context(acting(part, namespaces, user=user))

    def end(self, actor: Actor) -> None:
        """End a process before the test does."""
        os.kill(actor.pid, signal.SIGKILL)
        os.waitid(os.P_PID, actor.pid, os.WEXITED | os.WNOWAIT)

    def attachments(self, **how: Any) -> Look:
        """`attach list`, which has what is honest."""
        found = look("attach", "list", **how)
        there = [each["target"] for each in found.items if each["prog_id"] == self.xdp_id]
        assert [each for each in there if each.endswith(f"@{self.netns}")], (there, found.errors)
        return found

    def map_shown(self, selector: str | int = "", **how: Any) -> Look:
        """`map show` with pins, of the honest map where no other is named."""
        return look("map", "show", str(selector or self.map_id), "--parts", "all", **how)

    def close(self) -> None:
        self._stack.close()
