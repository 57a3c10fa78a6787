"""Programs that name types of the kernel that they are loaded into, by its own BTF."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from bpflens.abi.attrs import MapCreate, ProgLoad
from bpflens.abi.enums import AttachType, Cmd, MapType, ProgType
from bpflens.abi.infos import BtfInfo
from bpflens.btf.parse import Btf
from bpflens.btf.types import Func, Struct, Type, Typedef
from bpflens.errors import NotFound, SyscallError
from bpflens.port.calls import Calls
from bpflens.testing.bench import NotOffered
from bpflens.testing.builders import RETURN_0, btf, code, load, read_btf, u64

VMLINUX = 1
"""The id of the kernel's own BTF: it is the first that is loaded."""


@lru_cache(maxsize=4)
def _parsed(data: bytes) -> Btf:
    return Btf.parse(data)


def kernel_btf(calls: Calls) -> Btf:
    """The types of the kernel at the other side of the door. Raises NotOffered."""
    try:
        fd = calls.fd_by_id(Cmd.BTF_GET_FD_BY_ID, VMLINUX)
    except NotFound:
        raise NotOffered("the kernel has no BTF") from None
    if not calls.info(fd, BtfInfo).kernel_btf:
        raise NotOffered("the kernel has no BTF")
    data = read_btf(calls, fd)
    calls.close(fd)
    return _parsed(data)


def function_id(calls: Calls, name: str) -> int:
    """The type id of a function of the kernel. Raises NotOffered."""
    return _id(calls, name, Func)


def typedef_id(calls: Calls, name: str) -> int:
    """The type id of a typedef of the kernel, as tracepoints have one. Raises NotOffered."""
    return _id(calls, name, Typedef)


def _id(calls: Calls, name: str, kind: type[Type]) -> int:
    found = kernel_btf(calls).find(name, kind)
    if found is None:
        raise NotOffered(f"the kernel's BTF has no {name}")
    return found.id


def iterator_program(calls: Calls, target: str) -> int:
    """A program that iterates over `target` and does nothing. Raises NotOffered where the kernel
    refuses to load it."""
    attr = ProgLoad(
        prog_type=ProgType.TRACING,
        expected_attach_type=AttachType.TRACE_ITER,
        attach_btf_id=function_id(calls, f"bpf_iter_{target}"),
    )
    with unless_refused(f"iterators over {target}"):
        return load(calls, attr, code(RETURN_0))


class Table(NamedTuple):
    """A table of functions of the kernel (struct_ops), as its map holds it."""

    value_id: int
    value_size: int
    table_id: int
    places: dict[str, tuple[int, int]]
    """Member → which it is, and where it is in the value."""

    def value(self, **members: int | bytes) -> bytes:
        """The map's value: fds of programs for functions, zero for what is not given."""
        made = bytearray(self.value_size)
        for name, given in members.items():
            data = given if isinstance(given, bytes) else u64(given)
            at = self.places[name][1]
            made[at : at + len(data)] = data
        return bytes(made)


def table(calls: Calls, name: str) -> Table:
    """The table of that name, as this kernel lays it out. Raises NotOffered."""
    types = kernel_btf(calls)
    value = types.find(f"bpf_struct_ops_{name}", Struct)
    if value is None:
        raise NotOffered(f"the kernel has no struct_ops for {name}")
    data = value.members[-1]
    inner = types[data.type_id]
    assert isinstance(inner, Struct)
    places = {
        member.name: (index, (data.bit_offset + member.bit_offset) // 8)
        for index, member in enumerate(inner.members)
    }
    return Table(value.id, value.size, inner.id, places)


def struct_ops_map(calls: Calls, table: Table, flags: int = 0) -> int:
    """A map for such a table."""
    return calls.map_create(
        MapCreate(
            map_type=MapType.STRUCT_OPS, key_size=4, value_size=table.value_size, max_entries=1,
            map_flags=flags, btf_fd=btf(calls), btf_vmlinux_value_type_id=table.value_id,
        )
    )  # fmt: skip


def struct_ops_program(
    calls: Calls, table: Table, member: str, text: str = RETURN_0, license: str = "GPL"
) -> int:
    """A program for one function of a table."""
    attr = ProgLoad(
        prog_type=ProgType.STRUCT_OPS,
        attach_btf_id=table.table_id,
        expected_attach_type=table.places[member][0],
    )
    return load(calls, attr, code(text), license)


@contextmanager
def unless_refused(what: str) -> Iterator[None]:
    """Raises NotOffered where a policy of this machine lets nobody load such programs (EPERM)."""
    try:
        yield
    except SyscallError as refusal:
        if refusal.errno != errno.EPERM:
            raise
        raise NotOffered(f"this kernel refuses {what}") from refusal


def traced_program(calls: Calls, function: str, attach: AttachType) -> int:
    """A program at a function of the kernel: fentry, fexit, fmod_ret, or at an LSM hook.

    Raises NotOffered where there is no such function, or where the kernel lets nobody load one.
    """
    attr = ProgLoad(
        prog_type=ProgType.LSM if attach in _LSM else ProgType.TRACING,
        expected_attach_type=attach,
        attach_btf_id=function_id(calls, function),
    )
    with unless_refused("programs at functions"):
        return load(calls, attr, code(RETURN_0))


_LSM = (AttachType.LSM_MAC, AttachType.LSM_CGROUP)
