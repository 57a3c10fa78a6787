"""A scene in which nothing that has a name has one that is UTF-8.

The names of objects and types are those that Linux takes: its isalnum() knows the letters of
Latin-1.
"""

from __future__ import annotations

import struct

from bpflens.abi.attrs import LinkCreate, ProgAttach
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.abi.netlink import NETLINK_ROUTE, TcParent
from bpflens.abi.rows import SocketRow
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.engine.engine import Engine
from bpflens.engine.net import Socket
from bpflens.engine.progs.prog import Prog
from bpflens.engine.tasks import Task
from bpflens.port.calls import Calls
from bpflens.testing import rtnetlink
from bpflens.testing.builders import map, program, u32

PINS = "/sys/fs/bpf/d\udcff"
LONG = "xdp_\udce9_a_name_that_is_cut"
"""Of a program; the kernel keeps 15 bytes of it."""


def scene() -> Task:
    """The machine, and a task of root's that looks at it."""
    engine = Engine()
    engine.root.file("/etc/passwd", b"r\xffot:x:0:0::/:/bin/sh\nb\xfe:x:7:7::/:/bin/sh\n")
    engine.cgroup.make_all("/w\udcff.slice")
    engine.mntns.bpffs["/sys/fs/bpf"].make("d\udcff")
    _types_and_programs(engine)
    _elsewhere(engine)
    return engine.task(comm="look\udcff", cgroup="/user.slice")


def _btf(calls: Calls) -> tuple[int, dict[str, int]]:
    made = BtfBuilder()
    ids = {"int": made.add_int("in\udcff", 4, Int.SIGNED)}
    char = made.add_int("char", 1, Int.CHAR)
    text = made.add_array(char, 8, ids["int"])
    kind = made.add_enum("kind\udcfe", [("OFF\udcff", 0), ("ON\udcff", 1)])
    # Two members that look alike where their bytes cannot be shown.
    ids["value"] = made.add_struct("val\udcff", 24, [
        ("m\udce9", ids["int"], 0), ("m\udcff", ids["int"], 32), ("kind\udcff", kind, 64),
        ("text\udcff", text, 96),
    ])  # fmt: skip
    variable = made.add_var("v\udcff", ids["int"])
    ids["section"] = made.add_datasec(".data.\udcff", 4, [(variable, 0, 4)])
    made.add_typedef("ty\udcff", ids["value"])
    made.add_decl_tag("tag\udcff", ids["value"], 0)
    proto = made.add_func_proto(ids["int"], [("arg\udcff", made.add_ptr(ids["value"]))])
    ids["main"] = made.add_func(LONG, proto)
    ids["sub"] = made.add_func("sub\udcff", proto, linkage=0)
    for key, words in {"file": "/src/\udcff.c", "line": '  x = "\udcfe";'}.items():
        ids[key] = made.string(words)
    return calls.btf_load(made.build()), ids


def _types_and_programs(engine: Engine) -> None:
    """Typed maps, an XDP program with lines and functions, pins, links, tcx, a socket."""
    task = engine.task(comm="load\udcff", cgroup="/w\udcff.slice/u\udcfe.service")
    calls, net = Calls(task.doors().bpf), task.doors().net
    btf, ids = _btf(calls)
    typed = map(calls, MapType.HASH, value_size=24, name=b"map\xff",
                btf=(btf, ids["int"], ids["value"]))  # fmt: skip
    calls.map_update(typed, u32(1), struct.pack("=iiI8s4x", -3, 4, 1, b"=A1"))
    plain = map(calls, MapType.HASH, value_size=8, name=b"map\xfe")
    calls.map_update(plain, u32(1), b"-x\xff\0\0\0\0\0")
    calls.map_update(plain, u32(2), b'a\r\n",\xfe\0\0')
    data = map(calls, MapType.ARRAY, value_size=4, max_entries=1, name=b".data.\xff",
               btf=(btf, 0, ids["section"]))  # fmt: skip
    jumps = map(calls, MapType.PROG_ARRAY, max_entries=2, name=b"jump\xff")
    first = program(
        calls,
        """
        r1 = map_value data +0
        r1 = map_fd typed
        call pc+2
        r0 = 2
        exit
        r0 = 0
        exit
        """,
        ProgType.XDP, name=LONG.encode(errors="surrogateescape")[:15], btf=btf,
        funcs=[(0, ids["main"]), (7, ids["sub"])],
        lines=[(0, ids["file"], ids["line"], 7 << 10 | 3), (7, ids["file"], ids["line"], 8 << 10)],
        typed=typed, data=data,
    )  # fmt: skip
    second = program(calls, "r0 = 2; exit", ProgType.XDP, name=b"twin\xff")
    program(calls, "r0 = 2; exit", ProgType.XDP, name=b"twin\xfe")
    calls.map_update(jumps, u32(1), u32(second))
    device = task.netns.add("e\udcff0")
    link = calls.link_create(
        LinkCreate(prog_fd=first, target_fd=device.index, attach_type=AttachType.XDP)
    )
    side = AttachType.TCX_INGRESS
    guard = program(calls, "r0 = -1; exit", ProgType.SCHED_CLS, name=b"tc\xff", attach_type=side)
    calls.prog_attach(ProgAttach(target_fd=device.index, attach_bpf_fd=guard, attach_type=side))
    kind = AttachType.CGROUP_INET_EGRESS
    count = program(calls, "r0 = 1; exit", ProgType.CGROUP_SKB, name=b"skb\xff", attach_type=kind)
    target = task.open("/sys/fs/cgroup/w\udcff.slice")
    calls.prog_attach(ProgAttach(target_fd=target, attach_bpf_fd=count, attach_type=kind))
    for fd, name in ((first, "prog\udcff"), (second, "two\udcff"), (guard, "two\udcfe"),
                     (typed, "map\udcff"), (plain, "=map\udcfe"),
                     (link, "link\udcff")):  # fmt: skip
        calls.obj_pin(fd, f"{PINS}/{name}")
    lone = map(calls, MapType.ARRAY, name=b"lone\xff")
    calls.obj_pin(lone, f"{PINS}/lone\udcff")
    calls.close(lone)
    user = program(calls, "r0 = 0; exit", ProgType.SOCKET_FILTER, name=b"sock\xff")
    socket = task.files.get(task.socket(SocketRow(family=1, path=b"/run/s\xff"), cookie=4), Socket)
    socket.attach(task.files.get(user, Prog))
    net.dump(NETLINK_ROUTE, rtnetlink.clsact(device.index))
    police = rtnetlink.new_filter(device.index, TcParent.INGRESS, guard, b"o\xff.o", FLAGS=1)
    net.dump(NETLINK_ROUTE, police)


def _elsewhere(engine: Engine) -> None:
    """A network and a mount namespace of their own, with a device and a pin."""
    made = engine.task(uid=7, caps=[], comm="=in\udcff", cgroup="/w\udcff.slice")
    owner = engine.task(comm="own\udcff")
    calls = Calls(owner.doors().bpf)
    blue = owner.unshare_net()
    eth0 = blue.add("e\udcfe0")
    engine.mntns.mount_netns("b\udcff", blue)
    fd = program(calls, "r0 = 2; exit", ProgType.XDP, name=b"xdp\xfe")
    calls.link_create(LinkCreate(prog_fd=fd, target_fd=eth0.index, attach_type=AttachType.XDP))
    owner.unshare_mounts()
    owner.mount_bpffs("/run/\udcff")
    calls.obj_pin(fd, "/run/\udcff/pin\udcff")
    made.unshare_net()
