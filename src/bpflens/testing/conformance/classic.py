"""Classic programs of cls_bpf: what can be one, and what rtnetlink tells of it."""

from __future__ import annotations

import errno
import struct

from bpflens.abi.netlink import TCMSG, Tca, TcaBpf, attribute, attributes
from bpflens.testing.bench import Bench
from bpflens.testing.builders import u32
from bpflens.testing.conformance.clsact import DIRECT, INGRESS, NOT_IN_HW, device, dump, shown
from bpflens.testing.conformance.devices import cls
from bpflens.testing.conformance.elsewhere import refused
from bpflens.testing.conformance.suite import cases, same
from bpflens.testing.hooks import id_of
from bpflens.testing.rtnetlink import del_filter, new_filter


def classic(*rows: tuple[int, int, int, int]) -> bytes:
    """Instructions: code, jump if true, jump if false, operand (struct sock_filter)."""
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


RET, LD_LEN, LD_ABS, LD_MEM, ST, JA, JEQ = 0x06, 0x80, 0x30, 0x60, 0x02, 0x05, 0x15
ACCEPT = (RET, 0, 0, 0xFFFFFFFF)


def check_bytes(bench: Bench) -> None:
    """A classic program is told by its instructions, without name, ID and tag."""
    ifindex = device(bench)
    ops = classic((LD_ABS, 0, 0, 9), (JEQ, 0, 1, 6), ACCEPT, (RET, 0, 0, 0))
    asked = new_filter(
        ifindex, INGRESS, None, b"name", prio=1, ops=ops, FLAGS=DIRECT, CLASSID=0x10001
    )
    bench.change_net(asked)
    options = attribute(TcaBpf.CLASSID, u32(0x10001))
    options += attribute(TcaBpf.OPS_LEN, b"\4\0") + attribute(TcaBpf.OPS, ops)
    options += attribute(TcaBpf.FLAGS, u32(DIRECT)) + attribute(TcaBpf.FLAGS_GEN, u32(NOT_IN_HW))
    told = attributes(dump(bench, ifindex)[1][TCMSG.size :])
    same(told[Tca.OPTIONS], options)


def check_replaced(bench: Bench) -> None:
    """A classic program makes way for another kind, and the other way round."""
    ifindex, prog = device(bench), cls(bench.calls)
    bench.change_net(new_filter(ifindex, INGRESS, None, prio=1, ops=classic(ACCEPT)))
    bench.change_net(new_filter(ifindex, INGRESS, prog, prio=1, handle=1, flags=0))
    same([told.prog for told in shown(bench, ifindex)], [id_of(bench.calls, prog)])
    ops = classic((LD_LEN, 0, 0, 0), ACCEPT)
    bench.change_net(new_filter(ifindex, INGRESS, None, prio=1, handle=1, flags=0, ops=ops))
    bench.calls.close(prog)
    bench.change_net(del_filter(ifindex, INGRESS, prio=1, handle=1))
    same(dump(bench, ifindex), [])


@cases(
    no_end=classic((LD_LEN, 0, 0, 0)),
    unknown_code=classic((0xFF, 0, 0, 0), ACCEPT),
    returns_x=classic((0x0E, 0, 0, 0)),
    jump_out=classic((JA, 0, 0, 1), ACCEPT),
    jump_to_the_end=classic((JA, 0, 0, 0xFFFFFFFF), ACCEPT),
    branch_out=classic((JEQ, 0, 1, 0), ACCEPT),
    division_by_zero=classic((0x34, 0, 0, 0), ACCEPT),
    modulo_zero=classic((0x94, 0, 0, 0), ACCEPT),
    shift=classic((0x64, 0, 0, 32), ACCEPT),
    cell=classic((ST, 0, 0, 16), ACCEPT),
    cell_unwritten=classic((LD_MEM, 0, 0, 3), ACCEPT),
    cell_written_on_one_way=classic(
        (JEQ, 1, 0, 0), (ST, 0, 0, 3), (LD_MEM, 0, 0, 3), ACCEPT
    ),
    ancillary=classic((LD_ABS, 0, 0, 0xFFFFF000 + 64), ACCEPT),
    ancillary_between=classic((LD_ABS, 0, 0, 0xFFFFF000 + 1), ACCEPT),
)  # fmt: skip
def check_that_makes_no_sense(bench: Bench, ops: bytes) -> None:
    """What cannot run is EINVAL."""
    refused(errno.EINVAL, bench.change_net, new_filter(device(bench), INGRESS, None, ops=ops))


@cases(
    jump=classic((JA, 0, 0, 0), ACCEPT),
    branch=classic((JEQ, 0, 0, 0), ACCEPT),
    shift=classic((0x64, 0, 0, 31), ACCEPT),
    cells=classic((ST, 0, 0, 15), (0x61, 0, 0, 15), (0x0C, 0, 0, 0), (0x16, 0, 0, 0)),
    cell_written_on_both_ways=classic(
        (JEQ, 0, 2, 0), (ST, 0, 0, 3), (JA, 0, 0, 1), (0x03, 0, 0, 3), (LD_MEM, 0, 0, 3), ACCEPT
    ),
    ancillary=classic((LD_ABS, 0, 0, 0xFFFFF000 + 60), (0x20, 0, 0, 0xFFFFF000 + 36), ACCEPT),
    offsets=classic((LD_ABS, 0, 0, 0xFFF00000), (0xB1, 0, 0, 14), (0x50, 0, 0, 2), ACCEPT),
    rest=classic((0, 0, 0, 5), (7, 0, 0, 0), (0x87, 0, 0, 0), (0x84, 0, 0, 0), (0xA4, 0, 0, 1),
                 (0x81, 0, 0, 0), (0x45, 0, 0, 1), ACCEPT),
)  # fmt: skip
def check_that_makes_sense(bench: Bench, ops: bytes) -> None:
    """What can run is taken."""
    ifindex = device(bench)
    bench.change_net(new_filter(ifindex, INGRESS, None, ops=ops))
    same(len(dump(bench, ifindex)), 2)


@cases(none=(b"", 0), fewer=(classic(ACCEPT, ACCEPT), 1), more=(classic(ACCEPT), 2))
def check_count(bench: Bench, ops: bytes, count: int) -> None:
    """The number of instructions is that of the bytes, and not 0 (EINVAL)."""
    asked = new_filter(device(bench), INGRESS, None, ops=ops, count=count)
    refused(errno.EINVAL, bench.change_net, asked)


def check_beside_another(bench: Bench) -> None:
    """A filter has one program (EINVAL)."""
    asked = new_filter(device(bench), INGRESS, cls(bench.calls), ops=classic(ACCEPT))
    refused(errno.EINVAL, bench.change_net, asked)
