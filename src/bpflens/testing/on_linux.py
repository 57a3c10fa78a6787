"""A bench on the Linux that this process runs on, in namespaces of its own.

Network devices, mounts and what is attached to them vanish with the namespaces; cgroups, which
have no namespace to vanish with, are removed after each check.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import socket
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from bpflens.abi.infos import TokenInfo
from bpflens.linux.doors import doors
from bpflens.port.calls import Calls
from bpflens.port.doors import BpfPort
from bpflens.port.memory import Memory
from bpflens.testing import namespaces, rtnetlink, sockets, user_namespace
from bpflens.testing.bench import NOBODY, Bench, Cgroup, Guest, NotOffered, eventually

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC_PRIVATE = 0x4000 | 1 << 18
MNT_DETACH = 2
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
PERF_TYPE_SOFTWARE, PERF_TYPE_TRACEPOINT = 1, 2
PERF_COUNT_SW_DUMMY = 9
PERF_FLAG_FD_CLOEXEC = 8
PERF_EVENT_IOC_SET_BPF = 0x40042408
SOL_SOCKET, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_EBPF, SO_DETACH_REUSEPORT_BPF = 1, 50, 52, 68
SOL_PACKET, PACKET_FANOUT, PACKET_FANOUT_DATA, PACKET_FANOUT_EBPF = 263, 18, 22, 7
AF_XDP = 44
CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """The result of a C function. Raises OSError where it is negative."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


class LinuxBench(Bench):
    """The bench of this machine. It needs root. One at a time: it moves the whole process."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise NotOffered("a bench on Linux needs root")
        release = ".".join(os.uname().release.split(".")[:2])
        with open("/sys/devices/system/cpu/possible") as possible:
            cpus = int(possible.read().strip().rpartition("-")[2]) + 1
        self.pid = os.getpid()
        self._folder = os.getcwd()
        self._homes = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]
        checked(libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "unshare")
        checked(libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None), "mount")
        self._mounts = tempfile.mkdtemp(prefix="bpflens-bench-")
        self._mount("tmpfs", self._mounts)
        self.index_dir = self._mounts
        self._undo: list[Callable[[], None]] = []
        self._count = 0
        self._tracefs = ""
        self._away = False
        """In a network namespace whose devices go with it."""
        super().__init__(f"linux {release}", doors(), cpus)

    def close(self) -> None:
        self.clean()
        self.doors.host.close()
        # A thread that Python has joined may not be at its end: beside it setns(2) is refused.
        eventually(lambda: len(os.listdir("/proc/self/task")) == 1, "the end of other threads")
        for home in self._homes:
            checked(libc.setns(home, 0), "setns")
            os.close(home)
        os.rmdir(self._mounts)
        # setns(2) into a mount namespace moves to its root
        os.chdir(self._folder)

    def clean(self) -> None:
        super().clean()
        while self._undo:
            self._undo.pop()()

    # --- callers and files

    def caller(self, uid: int = 0, caps: Iterable[int] = ()) -> Calls:
        return Calls(self.files.beside(LesserCaller(self.doors.bpf, uid, caps)))

    @contextmanager
    def no_more_files(self) -> Iterator[None]:
        lowest = os.open("/dev/null", os.O_RDONLY)
        os.close(lowest)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def plain_file(self) -> int:
        return self._keep(os.open("/dev/null", os.O_RDWR))

    def dup(self, fd: int) -> int:
        return self._keep(os.dup(fd))

    def _keep(self, fd: int) -> int:
        self.files.fds.append(fd)
        return fd

    # --- places

    def _mount(self, kind: str, path: str) -> None:
        checked(libc.mount(kind.encode(), path.encode(), kind.encode(), 0, None), f"mount {kind}")

    def _unmount(self, path: str) -> None:
        checked(libc.umount2(path.encode(), MNT_DETACH), "umount")

    def _folder_for(self, kind: str) -> str:
        self._count += 1
        path = f"{self._mounts}/{kind}{self._count}"
        os.mkdir(path)
        return path

    def bpffs(self) -> str:
        path = self._folder_for("bpf")
        self._mount("bpf", path)
        self._undo.append(lambda: os.rmdir(path))
        self._undo.append(lambda: self._unmount(path))
        return path

    def folder(self, path: str) -> int:
        return self._keep(os.open(path, os.O_RDONLY | os.O_DIRECTORY))

    def as_guest(self, do: Callable[[Guest], None], allowed: TokenInfo | None = None) -> None:
        user_namespace.run(do, allowed or TokenInfo())

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def cgroup(self, parent: Cgroup | None = None) -> Cgroup:
        self._count += 1
        above = parent.path if parent else cgroup_root()
        path = f"{above}/bpflens-bench-{os.getpid()}-{self._count}"
        os.mkdir(path)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        made = Cgroup(fd, os.stat(path).st_ino, path, path.removeprefix(cgroup_root()))
        self._undo.append(lambda: self.remove_cgroup(made))
        self._keep(made.fd)
        return made

    def remove_cgroup(self, cgroup: Cgroup) -> None:
        with suppress(FileNotFoundError):
            os.rmdir(cgroup.path)

    def device(self) -> int:
        self._count += 1
        name = f"bench{self._count}"
        rtnetlink.add_pair(name, "veth")
        index = socket.if_nametoindex(name)
        if not self._away:
            self._undo.append(lambda: self.remove_device(index))
        return index

    def remove_device(self, ifindex: int) -> None:
        try:
            rtnetlink.remove(ifindex)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def netkit(self) -> tuple[int, int]:
        self._count += 1
        name = f"bench{self._count}"
        try:
            rtnetlink.add_pair(name, "netkit")
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            raise NotOffered("this kernel has no netkit devices") from None
        index = socket.if_nametoindex(name)
        self._undo.append(lambda: self.remove_device(index))
        return index, rtnetlink.peer_of(index)

    def netns(self) -> int:
        return self._keep(os.open("/proc/self/ns/net", os.O_RDONLY))

    @contextmanager
    def elsewhere(self, name: str = "") -> Iterator[None]:
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            checked(libc.unshare(CLONE_NEWNET), "unshare")
            self._away = True
            self._undo.append(namespaces.name(name) if name else namespaces.keep())
            yield
        finally:
            self._away = False
            checked(libc.setns(home, CLONE_NEWNET), "setns")
            os.close(home)

    def tracepoint(self, group: str, name: str) -> int:
        if not self._tracefs:
            path = self._folder_for("trace")
            self._mount("tracefs", path)
            self._tracefs = path
        with open(f"{self._tracefs}/events/{group}/{name}/id") as file:
            number = int(file.read())
        return self._event(PERF_TYPE_TRACEPOINT, number)

    def _event(self, type: int, config: int, more: tuple[int, int] = (0, 0)) -> int:
        """perf_event_open(2) of what happens on CPU 0; `more` is config1 and config2."""
        call = PERF_EVENT_OPEN.get(os.uname().machine)
        if call is None:
            raise NotOffered("perf_event_open(2) has no number here")
        # struct perf_event_attr: type, size, config, sample_period, …; PERF_ATTR_SIZE_VER1 is 72
        attr = ctypes.create_string_buffer(
            struct.pack("=IIQQ32xQQ", type, 72, config, 1, *more), 72
        )
        fd = libc.syscall(call, attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)
        return self._keep(checked(fd, "perf_event_open"))

    def probe(
        self, kind: str, name: str, offset: int = 0, *, back: bool = False, counter: int = 0
    ) -> int:
        try:
            with open(f"/sys/bus/event_source/devices/{kind}/type") as file:
                type = int(file.read())
        except FileNotFoundError:
            raise NotOffered(f"this kernel has no perf events of {kind}s") from None
        text = ctypes.create_string_buffer(name.encode())
        # the PMU's format: config:0 for returns, config:32-63 for ref_ctr_offset
        return self._event(type, back | counter << 32, (ctypes.addressof(text), offset))

    def ticks(self) -> int:
        return self._event(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY)

    def executable(self) -> str:
        path = f"{self._mounts}/executable"
        if not os.path.exists(path):
            with open(path, "wb") as file:
                file.write(b"\x90" * 65536)  # nop
        return path

    def socket(self, kind: str) -> int:
        if kind == "xdp":
            try:
                return self._keep(socket.socket(AF_XDP, socket.SOCK_RAW).detach())
            except OSError as error:
                raise NotOffered(f"no sockets of AF_XDP: {error}") from error
        family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        if kind == "shared":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind != "unix":
            made.bind(("127.0.0.1", 0))
        if kind == "tcp":
            made.listen()
        return self._keep(made.detach())

    def bound_socket(self, kind: str, shared: bool = False) -> tuple[int, str]:
        name = f"@bench{os.getpid()}-{self._count}" if kind == "abstract" else ""
        if kind == "unix":
            name = self._folder_for("socket") + "/it"
        elif kind == "packet":
            name = socket.if_indextoname(self.device())
        try:
            made = sockets.opened(kind, name, shared)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
                raise
            raise NotOffered(f"this kernel has no {kind} sockets: {error.strerror}") from None
        bound = made.getsockname()[1] if sockets.FAMILIES[kind].local else 0
        fd = self._keep(made.detach())
        return fd, sockets.words(kind, bound, name, os.fstat(fd).st_ino)

    def stranger(self, *fds: int) -> int:
        import subprocess

        child = subprocess.Popen(["/bin/sleep", "600"], pass_fds=fds, user=NOBODY)

        def end() -> None:
            child.kill()
            child.wait()

        self._undo.append(end)
        return child.pid

    def map_memory(
        self, fd: int, length: int, write: bool = False, offset: int = 0
    ) -> tuple[memoryview, Callable[[], None]]:
        allowed = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
        found = mmap.mmap(fd, length, mmap.MAP_SHARED, allowed, offset=offset)
        view = memoryview(found)

        def unmap() -> None:
            view.release()
            found.close()

        return view, unmap

    def filter_socket(self, socket: int, prog: int) -> None:
        with _borrowed(socket) as it:
            it.setsockopt(SOL_SOCKET, SO_ATTACH_BPF, prog)

    def choose_socket(self, socket: int, prog: int | None) -> None:
        option = SO_DETACH_REUSEPORT_BPF if prog is None else SO_ATTACH_REUSEPORT_EBPF
        with _borrowed(socket) as it:
            it.setsockopt(SOL_SOCKET, option, prog or 0)

    def fan_out(self, socket: int, prog: int) -> None:
        with _borrowed(socket) as it:
            group = it.fileno() | PACKET_FANOUT_EBPF << 16
            it.setsockopt(SOL_PACKET, PACKET_FANOUT, group)
            it.setsockopt(SOL_PACKET, PACKET_FANOUT_DATA, prog)

    def set_xdp(self, ifindex: int, prog: int, flags: int = 0, expected: int | None = None) -> None:
        self.change_net(rtnetlink.set_xdp(ifindex, prog, flags, expected))

    def change_net(self, request: bytes) -> None:
        rtnetlink.ask(request)

    def set_event(self, event: int, prog: int) -> None:
        fcntl.ioctl(event, PERF_EVENT_IOC_SET_BPF, prog)


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    """A socket object for an fd that stays open."""
    made = socket.socket(fileno=fd)
    try:
        yield made
    finally:
        made.detach()


def cgroup_root() -> str:
    """Where the cgroup2 tree is mounted. Raises NotOffered."""
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, path, kind, *_ = line.split()
            if kind == "cgroup2":
                return path
    raise NotOffered("no cgroup2 is mounted")


class LesserCaller:
    """`BpfPort` of a caller who may do less: it changes its credentials around each call.

    Linux keeps them a thread, and looks at the effective ones; the permitted set stays, so that
    there is a way back. The real uid changes too: it is the one that `created_by_uid` tells
    (get_current_user() in bpf_prog_load()).
    """

    def __init__(self, port: BpfPort, uid: int, caps: Iterable[int]) -> None:
        self.port = port
        self._uid = uid
        self._caps = sum(1 << cap for cap in caps)

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        permitted = _permitted()
        os.setresuid(self._uid, self._uid, 0)
        _set_effective(self._caps & permitted, permitted)
        try:
            return self.port.bpf(cmd, attr, size, mem)
        finally:
            _set_effective(permitted, permitted)
            os.setresuid(0, 0, 0)

    def close(self, fd: int) -> None:
        self.port.close(fd)


_HEADER = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)


def _permitted() -> int:
    sets = ctypes.create_string_buffer(24)
    checked(libc.capget(_HEADER, sets), "capget")
    low, high = struct.unpack("=4xI8xI4x", sets.raw)
    return int(low) | int(high) << 32


def _set_effective(effective: int, permitted: int) -> None:
    low = 0xFFFFFFFF
    sets = struct.pack(
        "=6I", effective & low, permitted & low, 0, effective >> 32, permitted >> 32, 0
    )
    checked(libc.capset(_HEADER, sets), "capset")
