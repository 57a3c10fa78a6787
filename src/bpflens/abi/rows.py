"""What the bulk door gives: rows of whole objects, one after another, ascending by ID.

A row of a program is a `ProgRow`, then a `ProgInfo` as OBJ_GET_INFO_BY_FD tells it without side
buffers, then `ids` IDs of its maps (u32). Where `again` is set, of all that only the info's `id`
means anything: that program has to be asked about by the plain calls.

A row of a file is a `FileRow`, of one fd of one process; of a socket a `SocketRow` follows, of a
perf event an `EventRow`. They come in no order, and one that threads share may come more than once.

A row of a cgroup is a `CgroupRow`, of one program at one cgroup: the rows of one cgroup and attach
type stand together, in the order of the kernel's list.

A row of a process is a `TaskRow`.
"""

from __future__ import annotations

from enum import IntEnum

from bpflens.abi.record import U32, U64, Bytes16, Bytes108, Record


class ProgRow(Record, size=24):
    """What stands before a program's info."""

    again: U32 = 0
    ids: U32 = 0
    """How many IDs of maps follow: all of them, or none where they were not asked for."""
    told: U32 = 0
    """How many bytes of the info this kernel knows."""
    memlock: U64 = 0
    """As fdinfo tells it."""


class FileKind(IntEnum):
    """What a file is open on."""

    PROGRAM = 1
    MAP = 2
    LINK = 3
    BTF = 4
    ITERATOR = 5
    """The rows of an iterator (BPF_ITER_CREATE): the file holds the program, and its link."""
    PERF_EVENT = 6
    SOCKET = 7
    NAMESPACE = 8
    """Any kind of namespace: an open file may be all that keeps a network namespace."""


class FileRow(Record, size=32):
    """One open file that is a BPF object, or through which the kernel runs a BPF program.

    A perf event or a socket has a row only if it has such a program. A classic filter
    (SO_ATTACH_FILTER) is a program without an ID: it counts as none.
    """

    pid: U32 = 0
    """The process (tgid), as /proc names it."""
    fd: U32 = 0
    kind: U32 = 0
    """`FileKind`."""
    id: U32 = 0
    """Of the program, map, link or BTF object; of the map over whose elements an iterator goes;
    the inode number of a namespace; of a packet socket the program that shares packets out among
    the sockets of its group (PACKET_FANOUT_EBPF); 0 for the other kinds."""
    prog_id: U32 = 0
    """The program of an iterator or a perf event; of a socket the one that filters what it gets
    (SO_ATTACH_BPF)."""
    reuseport_id: U32 = 0
    """The program that shares packets out among the sockets of a port
    (SO_ATTACH_REUSEPORT_EBPF)."""
    cookie: U64 = 0
    """What the program of a perf event gets from bpf_get_attach_cookie()."""


class SocketRow(Record, size=192):
    """What follows the `FileRow` of a socket; six times as long, so that rows can be cut alike."""

    netns: U32 = 0
    """The inode number of its network namespace."""
    family: U32 = 0
    """AF_*."""
    type: U32 = 0
    """SOCK_*."""
    protocol: U32 = 0
    """IPPROTO_*; of a packet socket ETH_P_*."""
    local_port: U32 = 0
    remote_port: U32 = 0
    ifindex: U32 = 0
    """The device that a packet socket is bound to; 0: none, it gets the packets of all."""
    inode: U64 = 0
    """`socket:[inode]`, as /proc/PID/fd has it."""
    local: Bytes16 = b""
    remote: Bytes16 = b""
    path: Bytes108 = b""
    """sun_path of a unix socket: a path, or an abstract name behind a NUL, or all NUL."""


class EventRow(Record, size=32):
    """What follows the `FileRow` of a perf event; as long as that one."""

    event: U64 = 0
    """A number that no other event has (PERF_EVENT_IOC_ID): several fds may be open on one."""
    config: U64 = 0
    event_type: U32 = 0
    """PERF_TYPE_*, or the number of a PMU."""


FOLLOWS: dict[int, int] = {
    FileKind.SOCKET: SocketRow.__size__,
    FileKind.PERF_EVENT: EventRow.__size__,
}
"""Kind of file → the bytes of the row that follows its `FileRow`."""


class CgroupRow(Record, size=24):
    """A program that is attached to a cgroup itself, not to one above."""

    id: U64 = 0
    """Of the cgroup."""
    prog_id: U32 = 0
    link_id: U32 = 0
    """0: attached without a link."""
    attach_type: U32 = 0
    """Of all hooks of the LSM it is LSM_CGROUP; those of one hook stand together."""
    flags: U32 = 0
    """BPF_F_ALLOW_OVERRIDE or _MULTI, as all at that cgroup and type; BPF_F_PREORDER."""


class TaskRow(Record, size=12):
    """A process and the namespaces that it is in, by inode number; 0: it is ending, in none."""

    pid: U32 = 0
    """As `FileRow` has it."""
    netns: U32 = 0
    mntns: U32 = 0
