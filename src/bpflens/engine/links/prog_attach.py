"""PROG_ATTACH and PROG_DETACH, and the registry of hooks that they and PROG_QUERY reach."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from bpflens.abi.attrs import ProgAttach
from bpflens.abi.enums import Cmd, ProgType
from bpflens.engine.call import Call, command, err
from bpflens.engine.creds import Cap
from bpflens.engine.links.base import CGROUP_PROGS, PROG_TYPES, check_attach_type
from bpflens.engine.links.mprog import MPROG_FLAGS, MULTI, OVERRIDE, PREORDER, REPLACE
from bpflens.engine.progs.prog import Prog

if TYPE_CHECKING:
    from bpflens.abi.attrs import ProgQuery

_BASE_FLAGS = OVERRIDE | MULTI | REPLACE | PREORDER


class Hook:
    """Where programs are attached without a link. One object serves all hooks of a kind."""

    needs_prog = True
    """Whether PROG_DETACH resolves the program's fd itself first (else: the hook does)."""

    def attach(self, call: Call, attr: ProgAttach, prog: Prog) -> None:
        raise err(errno.EINVAL)

    def detach(self, call: Call, attr: ProgAttach, prog: Prog | None) -> None:
        raise err(errno.EINVAL)

    def query(self, call: Call, attr: ProgQuery) -> None:
        raise err(errno.EINVAL)


H = TypeVar("H", bound=type[Hook])
HOOKS: dict[int, Hook] = {}
"""Attach type → who answers."""


def hook(*types: int) -> Callable[[H], H]:
    """Register the decorated class for these attach types."""

    def register(cls: H) -> H:
        one = cls()
        for type in types:
            HOOKS[type] = one
        return cls

    return register


def _check_flags(attr: ProgAttach, type: int, ordered: bool) -> None:
    if not ordered and attr.attach_flags & ~(OVERRIDE | MULTI | REPLACE):
        raise err(errno.EINVAL)
    if type == ProgType.SCHED_CLS:
        if attr.attach_flags & ~MPROG_FLAGS:
            raise err(errno.EINVAL)
    elif type in CGROUP_PROGS or type == ProgType.LSM:
        if attr.attach_flags & ~(_BASE_FLAGS | MPROG_FLAGS):
            raise err(errno.EINVAL)
    elif attr.attach_flags & ~_BASE_FLAGS or attr.relative_fd or attr.expected_revision:
        raise err(errno.EINVAL)


@command(Cmd.PROG_ATTACH, ProgAttach)
def prog_attach(call: Call, attr: ProgAttach) -> int:
    """bpf_prog_attach()."""
    type = PROG_TYPES.get(attr.attach_type)
    if type is None or attr.attach_type >= call.engine.release.attach_types:
        raise err(errno.EINVAL)
    _check_flags(attr, type, call.engine.release.cgroup_order)
    prog = call.task.files.get(attr.attach_bpf_fd, Prog)
    if prog.type != type:
        raise err(errno.EINVAL)
    try:
        check_attach_type(call.task, prog, attr.attach_type)
    except OSError:
        raise err(errno.EINVAL) from None  # whatever it was
    found = HOOKS.get(attr.attach_type)
    if found is None:
        raise err(errno.EINVAL)
    found.attach(call, attr, prog)
    return 0


@command(Cmd.PROG_DETACH, ProgAttach)
def prog_detach(call: Call, attr: ProgAttach) -> int:
    """bpf_prog_detach()."""
    type = PROG_TYPES.get(attr.attach_type)
    if type is None or attr.attach_type >= call.engine.release.attach_types:
        raise err(errno.EINVAL)
    found = HOOKS.get(attr.attach_type)
    prog = None
    if type == ProgType.SCHED_CLS:
        if attr.attach_flags & ~MPROG_FLAGS:
            raise err(errno.EINVAL)
        if attr.attach_bpf_fd:
            prog = call.task.files.get(attr.attach_bpf_fd, Prog)
            if prog.type != type:
                raise err(errno.EINVAL)
        else:
            call.task.require(Cap.NET_ADMIN)  # bpf_mprog_detach_empty()
    elif type in CGROUP_PROGS or type == ProgType.LSM:
        if attr.attach_flags or attr.relative_fd:
            raise err(errno.EINVAL)
    elif attr.attach_flags or attr.relative_fd or attr.expected_revision:
        raise err(errno.EINVAL)
    if found is None:
        raise err(errno.EINVAL)
    found.detach(call, attr, prog)
    return 0


def prog_of_type(call: Call, fd: int, type: int) -> Prog:
    """bpf_prog_get_type()."""
    prog = call.task.files.get(fd, Prog)
    if prog.type != type:
        raise err(errno.EINVAL)
    return prog
