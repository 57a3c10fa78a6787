"""The iterator that writes `abi.rows.FileRow`: a BPF program over every open file of every process.

Which kind of file it is, the function tells that the kernel calls when it is closed: those of BPF
have one each, whose addresses /proc/kallsyms has (those of the tables that they stand in only with
CONFIG_KALLSYMS_ALL). So the program is good for one boot. A file's private data has no type for the
verifier, and is read with bpf_probe_read_kernel(). Since: 5.11.

Pure: from types and symbols to bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from bpflens.abi.rows import EventRow, FileKind, FileRow, SocketRow
from bpflens.btf import types as t
from bpflens.btf.parse import Btf
from bpflens.errors import Denied, Unsupported
from bpflens.insn.asm import assemble
from bpflens.linux import filetext
from bpflens.linux.kerneltypes import Kernel
from bpflens.linux.statements import NUMBER, NUMBER_MEMBERS, expand, kernel_of, on_stack, zeros

TARGET = "bpf_iter_task_file"

RELEASE = {
    FileKind.PROGRAM: "bpf_prog_release",
    FileKind.MAP: "bpf_map_release",
    FileKind.LINK: "bpf_link_release",
    FileKind.BTF: "btf_release",
    FileKind.ITERATOR: "iter_release",
    FileKind.PERF_EVENT: "perf_release",
    FileKind.SOCKET: "sock_close",
    FileKind.NAMESPACE: "ns_ioctl",
}
"""What the kernel calls when the last fd of such a file is closed (struct file_operations); of
namespaces, for which there is nothing to do then, what serves their ioctls."""

_AF = {"af_unix": 1, "af_inet": 2, "af_inet6": 10, "af_packet": 17}
_FANOUT_EBPF = 7
"""PACKET_FANOUT_EBPF."""
_ROW = -240
_SOCKET = _ROW + FileRow.__size__
_END = _SOCKET + SocketRow.__size__
_EVENT = _SOCKET
_END_OF_EVENT = _EVENT + EventRow.__size__
_STACK = {"word": -8, "more": -16}

_OF_MAPS = {
    "elements": b"bpf_map_elem"[:8],
    "sockets": b"sockmap\0",
    "storage": b"bpf_sk_storage_map"[:8],
}
"""How the names of iterators over the elements of a map begin (struct bpf_iter_reg)."""

_MEMBERS = {
    "ctx": ("bpf_iter__task_file", {"task": "task", "fd": "fd", "file": "file"}),
    "meta": ("bpf_iter_meta", {"seq": "seq"}),
    "file": ("file", {"f_op": "f_op", "private_data": "private_data", "inode": "f_inode"}),
    "fops": ("file_operations", {"release": "release", "ioctl": "unlocked_ioctl"}),
    "inode": ("inode", {"number": "i_ino"}),
    "prog": ("bpf_prog", {"aux": "aux"}),
    "aux": ("bpf_prog_aux", {"id": "id"}),
    "map": ("bpf_map", {"id": "id"}),
    "link": ("bpf_link", {"id": "id"}),
    "btf": ("btf", {"id": "id"}),
    "seq": ("seq_file", {"private": "private"}),
    "target": ("bpf_iter_target_info", {"reg": "reg_info"}),
    "reg": ("bpf_iter_reg", {"name": "target"}),
    "event": (
        "perf_event",
        {
            "prog": "prog",
            "cookie": "bpf_cookie",
            "id": "id",
            "attr_type": "attr.type",
            "attr_config": "attr.config",
        },
    ),
    "socket": ("socket", {"sk": "sk"}),
    "sock": (
        "sock",
        {
            "filter": "sk_filter",
            "reuseport": "sk_reuseport_cb",
            "type": "sk_type",
            "protocol": "sk_protocol",
            "family": "__sk_common.skc_family",
            "net": "__sk_common.skc_net.net",
            "rcv_saddr": "__sk_common.skc_rcv_saddr",
            "daddr": "__sk_common.skc_daddr",
            "num": "__sk_common.skc_num",
            "dport": "__sk_common.skc_dport",
        },
    ),
    "net": ("net", {"inum": "ns.inum"}),
    "filter": ("sk_filter", {"prog": "prog"}),
    "reuseport": ("sock_reuseport", {"prog": "prog"}),
}
"""As `Kernel.places` takes it."""


def releases(kallsyms: bytes) -> dict[FileKind, int]:
    """The addresses of those functions. Raises Unsupported, Denied where they are not to be had."""
    found: dict[FileKind, int] = {}
    for kind, name in RELEASE.items():
        end = b" %s\n" % name.encode()
        at = kallsyms.find(end)
        # Two functions of one name: nothing tells them apart.
        if at < 0 or kallsyms.find(end, at + 1) >= 0:
            raise Unsupported(f"/proc/kallsyms does not tell where {name} is")
        start = kallsyms.rfind(b"\n", 0, at) + 1
        found[kind] = int(kallsyms[start:at].split()[0], 16)
        if not found[kind]:  # kallsyms_show_value()
            raise Denied("/proc/kallsyms hides its addresses (kernel.kptr_restrict)", "CAP_SYSLOG")
    return found


def program(btf: Btf, addresses: Mapping[FileKind, int], packet: Btf | None = None) -> bytes:
    """The instructions. `packet` has the types of packet sockets, where they are a module's.

    Raises Unsupported where no such program can be made for these types.
    """
    kernel = kernel_of(btf)
    symbols = _symbols(kernel)
    text = [filetext.BEGIN, zeros(_ROW + 8, _SOCKET)]
    for kind in FileKind:
        end = _END if kind is FileKind.SOCKET else _END_OF_EVENT
        body = _BODIES.get(kind, filetext.OBJECT).replace("ZEROS", zeros(_SOCKET, end))
        name = kind.name.lower()
        text.append(filetext.KIND.replace("BODY", body).replace("KIND", name))
        symbols |= {f"kind_{name}": kind, f"release_{name}": addresses[kind]}
    text += ["goto done\n", filetext.INET]
    packets = Kernel(packet) if packet else kernel
    for label, part, types, members, otherwise in (
        ("inet6", filetext.INET6, kernel, _INET6, "addressed"),
        ("unix", filetext.UNIX, kernel, _UNIX, "addressed"),
        ("packet", filetext.PACKET, packets, _PACKET, "addressed"),
        ("fanout", filetext.FANOUT, packets, _FANOUT, "running"),
    ):
        try:
            symbols |= types.places(members)
        except Unsupported:  # then there are no such sockets here
            part = f"{label}:\n    goto {otherwise}\n"
        text.append(part)
    text.append(filetext.END.replace("NUMBER", NUMBER))
    return assemble(expand("".join(text)), **symbols)


_BODIES = {
    FileKind.PROGRAM: filetext.PROGRAM,
    FileKind.ITERATOR: filetext.ITERATOR,
    FileKind.PERF_EVENT: filetext.PERF_EVENT,
    FileKind.SOCKET: filetext.SOCKET,
    FileKind.NAMESPACE: filetext.NAMESPACE,
}


_INET6 = {
    "sock_v6": (
        "sock",
        {"rcv_saddr": "__sk_common.skc_v6_rcv_saddr", "daddr": "__sk_common.skc_v6_daddr"},
    )
}
_UNIX = {
    "unix": ("unix_sock", {"addr": "addr"}),
    "address": ("unix_address", {"len": "len", "path": "name"}),
}
_PACKET = {"packet": ("packet_sock", {"ifindex": "ifindex", "num": "num"})}
_FANOUT = {
    "packet": ("packet_sock", {"fanout": "fanout"}),
    "fanout": ("packet_fanout", {"type": "type", "prog": "bpf_prog"}),
}


def target(btf: Btf) -> int:
    """What the program attaches to."""
    return Kernel(btf).find(TARGET, t.Func).id


def _symbols(kernel: Kernel) -> dict[str, int]:
    found = kernel.places(_MEMBERS | NUMBER_MEMBERS)
    private = kernel.struct("bpf_iter_priv_data")
    # container_of(seq->private, struct bpf_iter_priv_data, target_private)
    end = kernel.place(private, "target_private").offset
    found["iterator_prog"] = kernel.place(private, "prog").offset - end
    found["iterator_target"] = kernel.place(private, "tinfo").offset - end
    sizes = {
        "row": _ROW,
        "sizeof_file": FileRow.__size__,
        "sizeof_event": FileRow.__size__ + EventRow.__size__,
        "sizeof_socket": FileRow.__size__ + SocketRow.__size__,
        "start": 0,
        "fanout_ebpf": _FANOUT_EBPF,
        "sizeof_upid": kernel.struct("upid").size,
    }
    rows = on_stack(FileRow, _ROW) | on_stack(SocketRow, _SOCKET) | on_stack(EventRow, _EVENT)
    of = {f"of_{what}": int.from_bytes(name, "little") for what, name in _OF_MAPS.items()}
    return found | of | sizes | _AF | _STACK | rows
