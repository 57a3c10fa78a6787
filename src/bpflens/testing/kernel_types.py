"""Programs that name types of the kernel that they are loaded into, by its own BTF."""

from __future__ import annotations

from functools import lru_cache

from bpflens.abi.attrs import ProgLoad
from bpflens.abi.enums import AttachType, Cmd, ProgType
from bpflens.abi.infos import BtfInfo
from bpflens.btf.parse import Btf
from bpflens.btf.types import Func, Type, Typedef
from bpflens.errors import NotFound
from bpflens.port.calls import Calls
from bpflens.testing.bench import NotOffered
from bpflens.testing.builders import RETURN_0, code, load, read_btf

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
    """A program that iterates over `target` and does nothing."""
    attr = ProgLoad(
        prog_type=ProgType.TRACING,
        expected_attach_type=AttachType.TRACE_ITER,
        attach_btf_id=function_id(calls, f"bpf_iter_{target}"),
    )
    return load(calls, attr, code(RETURN_0))
