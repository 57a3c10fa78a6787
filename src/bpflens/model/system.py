"""`System`: one kernel as its objects, whichever kernel it is."""

from __future__ import annotations

from collections.abc import Iterator
from errno import EAGAIN
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from bpflens.abi.enums import Cmd, MapFlag
from bpflens.errors import BpflensError, Denied, FormatError, NotFound, SyscallError
from bpflens.model import pins
from bpflens.model.btfobject import VMLINUX, BtfObject
from bpflens.model.link import Link
from bpflens.model.map import Map
from bpflens.model.parts import Missing, Reason, attempt
from bpflens.model.program import Program
from bpflens.port import fdinfo
from bpflens.port.calls import CallDenied, CallNotFound, Calls
from bpflens.port.doors import Doors

if TYPE_CHECKING:
    from bpflens.btf.parse import Btf
    from bpflens.model.kallsyms import Kallsyms
    from bpflens.port.mountinfo import Mount


class Kind(NamedTuple):
    """A kind of object that has IDs: its noun, and the commands that walk and open it."""

    noun: str
    next_id: Cmd
    fd_by_id: Cmd


PROGRAM = Kind("program", Cmd.PROG_GET_NEXT_ID, Cmd.PROG_GET_FD_BY_ID)
MAP = Kind("map", Cmd.MAP_GET_NEXT_ID, Cmd.MAP_GET_FD_BY_ID)
BTF = Kind("BTF object", Cmd.BTF_GET_NEXT_ID, Cmd.BTF_GET_FD_BY_ID)
LINK = Kind("link", Cmd.LINK_GET_NEXT_ID, Cmd.LINK_GET_FD_BY_ID)

ID_MAX = 0x7FFFFFFE
"""The largest ID (idr_alloc_cyclic(…, 1, INT_MAX) in bpf_prog_alloc_id())."""

_NEEDS = "CAP_SYS_ADMIN"
_MOST_AT_REST = 256
"""Prog_arrays that `System.rest` keeps; a process may often have 1,024 fds."""


class System:
    """The BPF objects of one kernel. For one thread; opening another System is cheap."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.host = doors.host
        self.calls = Calls(doors.bpf)
        self._cpus: int | None = None
        self._kallsyms: Kallsyms | Missing | None = None
        self._btf: dict[int, Btf | Missing] = {}
        self._kernel_types: Btf | Missing | None = None
        self.tracing_cookies: bool | None = None
        """Whether the kernel tells the cookies of tracing links; None: none was asked for."""
        self.index_dir: str | None = None
        """Where the index of the kernel's types may be kept for the next process, if anywhere."""
        self._resting: dict[int, int] = {}

    # --- walking IDs and opening what they name

    def ids(self, kind: Kind) -> Iterator[int]:
        """The IDs of all objects of a kind, ascending. Raises Denied.

        Objects that come or go meanwhile may or may not appear; no other is left out, none
        comes twice.
        """
        at = 0
        while at < ID_MAX:
            try:
                following = self.calls.next_id(kind.next_id, at)
            except CallDenied as error:
                raise _denied(f"{kind.noun}s cannot be listed", error) from error
            if following is None:
                return
            if following <= at:
                raise BpflensError(f"{kind.next_id.name} went back from {at} to {following}")
            yield following
            at = following

    def fd(self, kind: Kind, id: int, write: bool = False) -> int:
        """A new fd of the object with this ID. Raises NotFound, Denied."""
        # Only to read: a policy that forbids writing to others' maps does not stand in the way.
        flags = MapFlag.RDONLY if kind is MAP and not write else 0
        try:
            return self.calls.fd_by_id(kind.fd_by_id, id, flags)
        except CallNotFound as error:
            raise NotFound(f"there is no {kind.noun} with ID {id}") from error
        except CallDenied as error:
            raise _denied(f"{kind.noun} {id} cannot be opened", error) from error
        except SyscallError as error:
            if error.errno == EAGAIN:  # bpf_link_by_id(): it has its ID, and is not attached yet
                raise NotFound(f"{kind.noun} {id} is just being made") from error
            raise

    def program(self, id: int) -> Program:
        """The program with this ID. Raises NotFound, Denied."""
        return Program(self, self.fd(PROGRAM, id))

    def map(self, id: int, write: bool = False) -> Map:
        """The map with this ID, to read or also to write. Raises NotFound, Denied."""
        resting = None if write else self._resting.pop(id, None)
        return Map(self, self.fd(MAP, id, write) if resting is None else resting)

    def btf_object(self, id: int) -> BtfObject:
        """The BTF object with this ID. Raises NotFound, Denied."""
        return BtfObject(self, self.fd(BTF, id))

    def link(self, id: int) -> Link:
        """The link with this ID. Raises NotFound, Denied."""
        return Link(self, self.fd(LINK, id))

    def programs(self) -> Iterator[Program]:
        """Every program, ascending by ID; each is the caller's to close."""
        for id in self.ids(PROGRAM):
            try:
                yield self.program(id)
            except NotFound:
                continue  # gone between the walk and the open: not an error

    def maps(self) -> Iterator[Map]:
        """Every map, ascending by ID; each is the caller's to close."""
        for id in self.ids(MAP):
            try:
                yield self.map(id)
            except NotFound:
                continue

    def btf_objects(self) -> Iterator[BtfObject]:
        """Every BTF object, ascending by ID; each is the caller's to close."""
        for id in self.ids(BTF):
            try:
                yield self.btf_object(id)
            except NotFound:
                continue

    def links(self) -> Iterator[Link]:
        """Every link, ascending by ID; each is the caller's to close."""
        for id in self.ids(LINK):
            try:
                yield self.link(id)
            except NotFound:
                continue

    def pinned(
        self, path: str, write: bool = False, mount: Mount | None = None
    ) -> Program | Map | Link:
        """The program, map or link that is pinned at a path: of our mount namespace, or below a
        mount of another. Raises NotFound, Denied."""
        try:
            fd = self._pinned(path, write, mount)
        except CallNotFound as error:
            raise NotFound(f"nothing is pinned at {path}") from error
        except CallDenied as error:
            raise Denied(
                f"{path} cannot be opened ({error.strerror}): not a pin, or not allowed to read it",
                "read permission on the file",
            ) from error
        try:
            kind, _ = fdinfo.identify(self.host.fdinfo(fd)) or ("", 0)
        except OSError:
            self.calls.close(fd)
            raise
        if kind == "program":
            return Program(self, fd)
        if kind == "map":
            return Map(self, fd)
        if kind == "link":
            return Link(self, fd)
        self.calls.close(fd)
        raise NotFound(f"{path} holds a {kind or 'kind of object that bpflens does not know'}")

    def _pinned(self, path: str, write: bool, mount: Mount | None) -> int:
        if mount is None:
            return self.calls.pinned(path, write)
        fd = self.doors.mounts.get(self.doors.bpf, path, write, mount)
        self.calls.opened.add(fd)
        return fd

    def pins(self) -> pins.Pins:
        """Where objects are pinned, in the mount namespace of this process."""
        return pins.find(self)

    # --- facts of the machine

    @property
    def cpus(self) -> int:
        """The number of possible CPUs: the slots that a per-CPU value has."""
        if self._cpus is None:
            text = self.host.read("/sys/devices/system/cpu/possible").decode()
            spans = (part.partition("-") for part in text.split(","))
            try:
                self._cpus = sum(int(last or first) - int(first) + 1 for first, _, last in spans)
            except ValueError as error:
                raise FormatError(f"{text!r} is no list of CPUs", 0) from error
        return self._cpus

    def boot_time(self) -> int:
        """When the machine booted, in nanoseconds since the epoch, by its clocks of now."""
        clock = self.host.clock()
        return clock.realtime - clock.boottime

    def kallsyms(self) -> Kallsyms | Missing:
        """The kernel's symbols as they were when first asked for."""
        if self._kallsyms is None:
            from bpflens.model import kallsyms

            self._kallsyms = kallsyms.read(self.host)
        return self._kallsyms

    @property
    def symbols_asked(self) -> bytes | None:
        """The lines of /proc/kallsyms that names came from; None where it was not read."""
        found = self._kallsyms
        return None if found is None or isinstance(found, Missing) else found.excerpt()

    # --- BTF

    def btf(self, id: int) -> Btf | Missing:
        """The types of a BTF object, read once."""
        if id not in self._btf:
            self._btf[id] = self._read_btf(id)
        return self._btf[id]

    def _read_btf(self, id: int) -> Btf | Missing:
        try:
            with self.btf_object(id) as found:
                return attempt(BtfObject.types, found)
        except NotFound:
            return Missing(Reason.GONE, f"BTF object {id} is gone")
        except Denied as error:
            return Missing(Reason.DENIED, str(error))

    def kernel_types(self) -> Btf | Missing:
        """The types of the kernel itself, read once; their index is kept in `index_dir`."""
        if self._kernel_types is None:
            self._kernel_types = attempt(System._read_kernel_types, self)
        return self._kernel_types

    def _read_kernel_types(self) -> Btf | Missing:
        try:
            data = self.host.read(VMLINUX)
        except OSError as error:
            return Missing(Reason.FAILED, f"{VMLINUX}: {error.strerror}")
        if self.index_dir is None:
            from bpflens.btf.parse import Btf

            return Btf.parse(data)
        from bpflens.btf.cache import load

        return load(data, self.index_dir)

    def btf_name(self, btf_id: int, type_id: int) -> str | Missing:
        """The name of a function type."""
        from bpflens.btf.types import Func

        types = self.btf(btf_id)
        if isinstance(types, Missing):
            return types
        try:
            found = types[type_id]
        except FormatError as error:
            return Missing(Reason.FAILED, f"BTF object {btf_id}: {error}")
        if isinstance(found, Func):
            return found.name
        return Missing(Reason.FAILED, f"type {type_id} of BTF object {btf_id} is no function")

    # --- lifetime

    def rest(self, id: int, fd: int) -> None:
        """Keep the fd of a prog_array that nobody needs now, for the next who opens it.

        Linux clears a prog_array when its last fd or pin goes, in a work queue, with a reference
        that is taken when the work is queued (prog_array_map_clear()). Where it is queued already,
        nobody gives that reference back: opening and closing one that only programs hold a few
        times in a row leaks it for good (6.18: within 3,000 times, the sooner the busier the
        machine). So each is opened once a look, and closed at its end; of very many the first ones
        alone, or we would run out of fds.
        """
        if len(self._resting) >= _MOST_AT_REST:
            self.calls.close(fd)
            return
        before = self._resting.pop(id, None)
        if before is not None:
            self.calls.close(before)
        self._resting[id] = fd

    def settle(self) -> None:
        """Close what `rest` keeps: at the end of a look, where this System lives on."""
        while self._resting:
            self.calls.close(self._resting.popitem()[1])

    def close(self) -> None:
        """Give back what the doors hold; objects that are open stay the caller's to close."""
        self.settle()
        self.host.close()

    def __enter__(self) -> System:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _denied(what: str, error: SyscallError) -> Denied:
    return Denied(f"{what}: {error.strerror} ({error.call})", _NEEDS)
