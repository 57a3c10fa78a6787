"""A bench on the engine: a new one for each check, so nothing is left to undo."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from bpflens.abi.enums import ProgType
from bpflens.abi.infos import TokenInfo
from bpflens.abi.netlink import NETLINK_ROUTE
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.engine.cgroups import Cgroup as EngineCgroup
from bpflens.engine.creds import Creds
from bpflens.engine.engine import Engine
from bpflens.engine.files import O_RDONLY, O_RDWR, File, Node
from bpflens.engine.net import Socket
from bpflens.engine.perf import PerfEvent
from bpflens.engine.progs.prog import Prog
from bpflens.port.calls import Calls
from bpflens.testing import rtnetlink, sockets
from bpflens.testing.bench import NOBODY, TRACEPOINT, Bench, Cgroup, Guest

BPFFS = "/sys/fs/bpf"
PORT = 1024
"""The first that anyone may have."""


def few_types() -> bytes:
    """A kernel's BTF in small: what the checks ask for by name."""
    made = BtfBuilder()
    number = made.add_int("int", 4, Int.SIGNED)
    meta = made.add_ptr(made.add_struct("bpf_iter_meta", 0))
    held = made.add_ptr(made.add_struct("bpf_map", 0))
    proto = made.add_func_proto(number, [("meta", meta), ("map", held)])
    for target in (
        "bpf_map",
        "bpf_map_elem",
        "bpf_prog",
        "bpf_link",
        "task",
        "task_file",
        "cgroup",
    ):
        made.add_func(f"bpf_iter_{target}", proto)
    traced = made.add_func_proto(0, [("", made.add_ptr(0)), ("", held)])
    made.add_typedef(f"btf_trace_{TRACEPOINT}", made.add_ptr(traced))
    for name in (
        "vfs_unlink",
        "vfs_open",
        "security_file_open",
        "bpf_lsm_file_open",
        "bpf_lsm_socket_bind",
    ):
        made.add_func(name, made.add_func_proto(number, [("", held)]))
    word = made.add_int("unsigned long", 8)
    made.add_func("bpf_throw", made.add_func_proto(0, [("cookie", word)]))
    _congestion(made, number)
    return made.build()


def _congestion(made: BtfBuilder, number: int) -> None:
    """Some of struct tcp_congestion_ops, and the value of a struct_ops map for it."""
    word = made.add_int("unsigned int", 4)
    name = made.add_array(made.add_int("char", 1, Int.SIGNED), 16, word)
    sock = made.add_ptr(made.add_struct("sock", 0))
    asked = made.add_ptr(made.add_func_proto(word, [("", sock)]))
    told = made.add_ptr(made.add_func_proto(0, [("", sock), ("", word), ("", word)]))
    members = [
        ("ssthresh", asked), ("cong_avoid", told), ("undo_cwnd", asked), ("get_info", told),
        ("name", name), ("", 0), ("owner", made.add_ptr(made.add_struct("module", 0))),
        ("init", told),
    ]  # fmt: skip
    fields = [(name, type, 64 * at) for at, (name, type) in enumerate(members) if name]
    fields += [("key", word, 64 * len(members)), ("flags", word, 64 * len(members) + 32)]
    table = made.add_struct("tcp_congestion_ops", 8 * len(members) + 8, fields)
    common = made.add_struct(
        "bpf_struct_ops_common_value", 8, [("refcnt", word, 0), ("state", word, 32)]
    )
    parts = [("common", common, 0), ("data", table, 512)]
    made.add_struct("bpf_struct_ops_tcp_congestion_ops", 64 + 8 * len(members) + 8, parts)


class EngineBench(Bench):
    """The bench of an engine that follows this release, with Linux's rules for who may do what."""

    def __init__(self, release: str = "6.18", cpus: int = 2, vmlinux: bytes = b"") -> None:
        self._release = release
        self._vmlinux = vmlinux or few_types()
        self._cgroups: dict[str, EngineCgroup] = {}
        self.engine = self._new(cpus)
        self.task = self.engine.task()
        self.pid = self.task.pid
        super().__init__(f"engine {release}", self.task.doors(), cpus)

    def _new(self, cpus: int) -> Engine:
        return Engine(self._release, policy="linux", cpus=cpus, vmlinux=self._vmlinux)

    def clean(self) -> None:
        self.engine = self._new(self.cpus)
        self.task = self.engine.task()
        self.doors = self.task.doors()
        self.pid = self.task.pid
        self._cgroups.clear()
        self.renew()

    def close(self) -> None:
        self.doors.host.close()

    # --- callers and files

    def caller(self, uid: int = 0, caps: Iterable[int] = ()) -> Calls:
        task = self.engine.task(uid=uid, caps=list(caps))
        task.files = self.task.files
        task.netns = self.task.netns
        return Calls(self.files.beside(task.doors().bpf))

    @contextmanager
    def no_more_files(self) -> Iterator[None]:
        files = self.task.files
        limit = files.limit
        held = [files.add(File(Node(), O_RDWR, self.task.creds))]
        files.limit = held[0]
        files.close(held[0])
        taken = list(files._free)
        files._free.clear()
        try:
            yield
        finally:
            files.limit = limit
            files._free.extend(taken)

    def _open(self, node: Node, mode: int = O_RDWR) -> int:
        node.hold()
        return self.task.files.add(File(node, mode, self.task.creds))

    def plain_file(self) -> int:
        return self._open(Node())

    def dup(self, fd: int) -> int:
        return self.task.dup(fd)

    # --- places

    def bpffs(self) -> str:
        return BPFFS

    def folder(self, path: str) -> int:
        return self.task.open(path)

    def as_guest(self, do: Callable[[Guest], None], allowed: TokenInfo | None = None) -> None:
        child = self.task.fork()
        userns = child.unshare_user()
        bpffs = self.engine.mount_bpffs("/guest")
        bpffs.userns = userns
        bpffs.delegated = allowed or TokenInfo()
        try:
            do(Guest(Calls(child), child.doors().host, child.open("/guest")))
        finally:
            self.engine.mntns.unmount("/guest")
            child.exit()

    def unlink(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        self.engine.mounts[folder].unlink(name, self.task.creds)

    def cgroup(self, parent: Cgroup | None = None) -> Cgroup:
        above = self._cgroups[parent.path] if parent else self.engine.cgroup
        made = above.make(f"bench{len(self._cgroups)}")
        self._cgroups[made.path] = made
        return Cgroup(self._open(made, O_RDONLY), made.id, made.path, made.path)

    def remove_cgroup(self, cgroup: Cgroup) -> None:
        self._cgroups.pop(cgroup.path).remove()

    def device(self) -> int:
        netns = self.task.netns
        return netns.add(f"bench{len(netns.devices)}").index

    def remove_device(self, ifindex: int) -> None:
        self.task.netns.devices[ifindex].remove()

    def netkit(self) -> tuple[int, int]:
        netns = self.task.netns
        made = netns.add_netkit(f"bench{len(netns.devices)}")
        assert made.peer
        return made.index, made.peer.index

    def netns(self) -> int:
        return self._open(self.task.netns, O_RDONLY)

    @contextmanager
    def elsewhere(self, name: str = "") -> Iterator[None]:
        home = self.task.netns
        there = self.task.unshare_net()
        if name:
            self.task.mntns.mount_netns(name, there)
        else:
            self.engine.task(comm="keeper").netns = there
        try:
            yield
        finally:
            self.task.netns = home

    def tracepoint(self, group: str, name: str) -> int:
        return self._open(PerfEvent("tracepoint", name))

    def probe(
        self, kind: str, name: str, offset: int = 0, *, back: bool = False, counter: int = 0
    ) -> int:
        made = PerfEvent(kind, name, offset=offset, return_probe=back, counter=counter)
        return self._open(made)

    def ticks(self) -> int:
        return self._open(PerfEvent(config=9))

    def executable(self) -> str:
        path = "/usr/bin/bench"
        folder = self.engine.root.make("/usr/bin")
        if "bench" not in folder.entries:
            self.engine.root.file(path, bytes(65536))
        return path

    def socket(self, kind: str) -> int:
        # sock_map_sk_state_allowed(): UDP always, TCP when it is connected
        udp = kind in ("udp", "shared")
        family = kind if kind in ("unix", "xdp") else "inet"
        shared = kind == "shared"
        netns = self.task.netns
        made = Socket(7, established=udp, reuseport=shared, family=family, netns=netns)
        return self._open(made)

    def bound_socket(self, kind: str, shared: bool = False) -> tuple[int, str]:
        name = {"unix": "/run/bench", "abstract": "@bench"}.get(kind, "")
        ifindex = self.device() if kind == "packet" else 0
        if ifindex:
            name = self.task.netns.devices[ifindex].name
        row = sockets.row(kind, PORT, name, ifindex)
        made = Socket(7, reuseport=shared, row=row, netns=self.task.netns)
        return self._open(made), sockets.words(kind, PORT, name, made.inode)

    def stranger(self, *fds: int) -> int:
        child = self.task.fork(Creds(NOBODY, NOBODY), comm="sleep")
        for fd in set(child.files.files) - set(fds):
            child.files.close(fd)
        return child.pid

    def choose_socket(self, socket: int, prog: int | None) -> None:
        found = self.task.files.get(socket, Socket)
        if prog is None:
            found.detach_reuseport()
        else:
            found.attach_reuseport(self.task.files.get(prog, Prog))

    def map_memory(
        self, fd: int, length: int, write: bool = False, offset: int = 0
    ) -> tuple[memoryview, Callable[[], None]]:
        found = self.task.mmap(fd, length, write=write, offset=offset)
        return found.data, found.close

    def _prog(self, fd: int, *types: ProgType) -> Prog:
        """bpf_prog_get_type(): what those ask who attach programs from outside of bpf(2)."""
        found = self.task.files.get(fd, Prog)
        if found.type not in types:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return found

    def filter_socket(self, socket: int, prog: int) -> None:
        wanted = self._prog(prog, ProgType.SOCKET_FILTER)
        self.task.files.get(socket, Socket).attach(wanted)

    def set_xdp(self, ifindex: int, prog: int, flags: int = 0, expected: int | None = None) -> None:
        self.change_net(rtnetlink.set_xdp(ifindex, prog, flags, expected))

    def change_net(self, request: bytes) -> None:
        self.doors.net.dump(NETLINK_ROUTE, request)

    def set_event(self, event: int, prog: int) -> None:
        self.task.files.get(event, PerfEvent).set(self.task.files.get(prog, Prog))
