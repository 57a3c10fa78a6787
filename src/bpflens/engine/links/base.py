"""`Link`: an attachment as an object, and the registries of who makes one."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from bpflens.abi.enums import AttachType, LinkType, ProgType
from bpflens.engine.call import err
from bpflens.engine.creds import Cap
from bpflens.engine.files import O_RDONLY, File
from bpflens.engine.info import copy_name
from bpflens.engine.objects import Object

if TYPE_CHECKING:
    from bpflens.engine.call import Call
    from bpflens.engine.creds import Creds
    from bpflens.engine.engine import Engine
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.tasks import Task

HEAD = struct.Struct("=III")
_NAME = struct.Struct("=QI")

A, P = AttachType, ProgType
CGROUP_TYPES: dict[int, int] = {
    A.CGROUP_INET_INGRESS: P.CGROUP_SKB,
    A.CGROUP_INET_EGRESS: P.CGROUP_SKB,
    A.CGROUP_SOCK_OPS: P.SOCK_OPS,
    A.CGROUP_DEVICE: P.CGROUP_DEVICE,
    A.CGROUP_SYSCTL: P.CGROUP_SYSCTL,
    A.CGROUP_GETSOCKOPT: P.CGROUP_SOCKOPT,
    A.CGROUP_SETSOCKOPT: P.CGROUP_SOCKOPT,
    A.CGROUP_INET_SOCK_CREATE: P.CGROUP_SOCK,
    A.CGROUP_INET_SOCK_RELEASE: P.CGROUP_SOCK,
    A.CGROUP_INET4_POST_BIND: P.CGROUP_SOCK,
    A.CGROUP_INET6_POST_BIND: P.CGROUP_SOCK,
    **dict.fromkeys(
        (
            *range(A.CGROUP_INET4_BIND, A.CGROUP_INET6_CONNECT + 1),
            *(A.CGROUP_UDP4_SENDMSG, A.CGROUP_UDP6_SENDMSG),
            *(A.CGROUP_UDP4_RECVMSG, A.CGROUP_UDP6_RECVMSG),
            *range(A.CGROUP_INET4_GETPEERNAME, A.CGROUP_INET6_GETSOCKNAME + 1),
            *range(A.CGROUP_UNIX_CONNECT, A.CGROUP_UNIX_GETSOCKNAME + 1),
        ),
        int(P.CGROUP_SOCK_ADDR),
    ),
}
"""Attach types of cgroups → the type of program."""
PROG_TYPES: dict[int, int] = CGROUP_TYPES | {
    A.SK_MSG_VERDICT: P.SK_MSG,
    A.SK_SKB_STREAM_PARSER: P.SK_SKB,
    A.SK_SKB_STREAM_VERDICT: P.SK_SKB,
    A.SK_SKB_VERDICT: P.SK_SKB,
    A.LIRC_MODE2: P.LIRC_MODE2,
    A.FLOW_DISSECTOR: P.FLOW_DISSECTOR,
    A.TRACE_ITER: P.TRACING,
    A.TRACE_RAW_TP: P.TRACING,
    A.TRACE_FENTRY: P.TRACING,
    A.TRACE_FEXIT: P.TRACING,
    A.MODIFY_RETURN: P.TRACING,
    A.LSM_MAC: P.LSM,
    A.SK_LOOKUP: P.SK_LOOKUP,
    A.XDP: P.XDP,
    A.LSM_CGROUP: P.LSM,
    A.TCX_INGRESS: P.SCHED_CLS,
    A.TCX_EGRESS: P.SCHED_CLS,
    A.NETKIT_PRIMARY: P.SCHED_CLS,
    A.NETKIT_PEER: P.SCHED_CLS,
}
"""attach_type_to_prog_type()."""
CGROUP_PROGS = frozenset(CGROUP_TYPES.values())
_EXACT = (P.CGROUP_SOCK, P.CGROUP_SOCK_ADDR, P.CGROUP_SOCKOPT, P.SK_LOOKUP)
_ONE_OF: dict[int, tuple[int, ...]] = {
    P.NETFILTER: (A.NETFILTER,),
    P.PERF_EVENT: (A.PERF_EVENT,),
    P.TRACEPOINT: (A.PERF_EVENT,),
    P.KPROBE: (
        *(A.PERF_EVENT, A.TRACE_KPROBE_MULTI, A.TRACE_KPROBE_SESSION),
        *(A.TRACE_UPROBE_MULTI, A.TRACE_UPROBE_SESSION),
    ),
    P.SCHED_CLS: (A.TCX_INGRESS, A.TCX_EGRESS, A.NETKIT_PRIMARY, A.NETKIT_PEER),
}
_MULTI = (
    A.TRACE_KPROBE_MULTI,
    A.TRACE_KPROBE_SESSION,
    A.TRACE_UPROBE_MULTI,
    A.TRACE_UPROBE_SESSION,
)


def check_attach_type(task: Task, prog: Prog, attach: int) -> None:
    """bpf_prog_attach_check_attach_type()."""
    type = prog.type
    good = True
    if type in _EXACT:
        good = attach == prog.attach_type
    elif type == P.CGROUP_SKB:
        task.require(Cap.NET_ADMIN)
        good = PROG_TYPES.get(attach) == type and (not prog.enforced or prog.attach_type == attach)
    elif type == P.EXT:
        pass
    elif type in _ONE_OF:
        good = attach in _ONE_OF[type]
        if type == P.KPROBE and prog.attach_type in _MULTI:
            good = attach == prog.attach_type
    else:
        good = PROG_TYPES.get(attach) == type
    if not good:
        raise err(errno.EINVAL)


class Link(Object):
    """An attachment. Subclasses say what `attach`, `update`, `detach` and `release` do."""

    __slots__ = ("attach_type", "prog")

    space = "link"
    anon = "anon_inode:bpf_link"
    mode = O_RDONLY

    type: ClassVar[LinkType]

    def __init__(self, engine: Engine, creds: Creds, prog: Prog | None, attach_type: int) -> None:
        super().__init__(engine, creds)
        self.info_size = self.info_end = engine.release.link_info
        self.prog = prog
        self.attach_type = attach_type
        if prog:
            prog.hold()

    def free(self) -> None:
        """bpf_link_free(): off first, then the program goes."""
        self.release()
        if self.prog:
            self.prog.drop()

    def release(self) -> None:
        """Take the program off."""

    def target_gone(self) -> None:
        """What the link was attached to does not exist any more."""

    def update(self, call: Call, new: Prog, old: Prog | None) -> None:
        """Another program in place of this one. Raises EINVAL where there is no such operation."""
        raise err(errno.EINVAL)

    def detach(self) -> None:
        """LINK_DETACH; EOPNOTSUPP where there is no such operation."""
        raise err(errno.EOPNOTSUPP)

    def replace(self, new: Prog) -> None:
        """Exchange the reference."""
        new.hold()
        if self.prog:
            self.prog.drop()
        self.prog = new

    # --- what is told

    def fields(self, call: Call, data: bytearray) -> None:
        """Fill the link's own part of bpf_link_info, from offset 16."""

    def word(self) -> str:
        """link_type in fdinfo."""
        return self.type.label

    def lines(self) -> str:
        """The link's own lines of fdinfo."""
        return ""

    def info(self, call: Call, file: File, data: bytearray, told: int) -> None:
        """bpf_link_get_info_by_fd()."""
        HEAD.pack_into(data, 0, self.type, self.id, self.prog.id if self.prog else 0)
        self.fields(call, data)

    def fdinfo(self, file: File) -> str:
        """bpf_link_show_fdinfo()."""
        text = f"link_type:\t{self.word()}\nlink_id:\t{self.id}\n"
        if self.prog:
            text += f"prog_tag:\t{self.prog.tag.hex()}\nprog_id:\t{self.prog.id}\n"
        return text + self.lines()


def give_name(call: Call, data: bytearray, offset: int, name: bytes) -> None:
    """A name by pointer and length, as several kinds of link have it; ENOSPC where it is cut.

    bpf_copy_to_user(). The caller's struct stays as it was then.
    """
    at, room = _NAME.unpack_from(data, offset)
    if bool(at) != bool(room):
        raise err(errno.EINVAL)
    _NAME.pack_into(data, offset, at, len(name) + 1)
    if at:
        failed = copy_name(call, name, at, room)
        if failed:
            raise err(failed)


Maker = Callable[["Call", Any, "Prog"], int]
MAKERS: dict[int, Maker] = {}
"""Program type → who answers LINK_CREATE."""


def maker(*types: ProgType) -> Callable[[Maker], Maker]:
    """Register the decorated function for links of these program types."""

    def register(function: Maker) -> Maker:
        for type in types:
            MAKERS[type] = function
        return function

    return register


def finish(call: Call, link: Link, attach: Callable[[], None]) -> int:
    """bpf_link_prime(), attach, bpf_link_settle(): a failed attach has cost an ID."""
    task = call.task
    if task.files.full():
        if link.prog:
            link.prog.drop()
        raise err(errno.EMFILE)
    link.hold()
    link.publish()
    try:
        attach()
    except OSError:
        link.engine.ids["link"].remove(link.id)
        if link.prog:
            link.prog.drop()
        raise
    return task.files.add(File(link, O_RDONLY, task.creds))
