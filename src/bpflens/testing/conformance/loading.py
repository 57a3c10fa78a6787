"""PROG_LOAD: what is asked of the attr, before and beside the verifier."""

from __future__ import annotations

import errno
from typing import Any

from bpflens.abi.attrs import ProgLoad
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import MapFlag, MapType
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import ProgInfo
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.builders import RETURN_0, btf, code, load, map, program, types, u32
from bpflens.testing.conformance.suite import BAD, CLOSED, cases, fails, same

TYPES = {
    P.SOCKET_FILTER: 0,
    P.KPROBE: 0,
    P.SCHED_CLS: 0,
    P.SCHED_ACT: 0,
    P.TRACEPOINT: 0,
    P.XDP: 0,
    P.PERF_EVENT: 0,
    P.CGROUP_SKB: 0,
    P.CGROUP_SOCK: A.CGROUP_INET_SOCK_CREATE,
    P.LWT_IN: 0,
    P.LWT_OUT: 0,
    P.LWT_XMIT: 0,
    P.SOCK_OPS: A.CGROUP_SOCK_OPS,
    P.SK_SKB: 0,
    P.CGROUP_DEVICE: A.CGROUP_DEVICE,
    P.SK_MSG: A.SK_MSG_VERDICT,
    P.RAW_TRACEPOINT: 0,
    P.CGROUP_SOCK_ADDR: A.CGROUP_INET4_BIND,
    P.LWT_SEG6LOCAL: 0,
    P.SK_REUSEPORT: 0,
    P.FLOW_DISSECTOR: A.FLOW_DISSECTOR,
    P.CGROUP_SYSCTL: A.CGROUP_SYSCTL,
    P.RAW_TRACEPOINT_WRITABLE: 0,
    P.CGROUP_SOCKOPT: A.CGROUP_GETSOCKOPT,
    P.SK_LOOKUP: A.SK_LOOKUP,
    P.SYSCALL: 0,
    P.NETFILTER: A.NETFILTER,
}
"""Types that load a plain program, with an attach type that suits them."""

ONE = "r0 = 1; exit"


@cases(**{type.label: (type, attach) for type, attach in TYPES.items()})
def check_type(calls: Calls, type: P, attach: int) -> None:
    """A program that returns 1 can be of this type, and tells it."""
    flags = 0x10 if type == P.SYSCALL else 0  # BPF_F_SLEEPABLE, which these must be
    text = RETURN_0 if type in (P.FLOW_DISSECTOR, P.SK_REUSEPORT) else ONE
    fd = program(calls, text, type, attach_type=attach, flags=flags)
    same(calls.info(fd, ProgInfo).type, type)


@cases(unspecified=0, past_the_last=40, large=0xFFFFFFFF)
def check_no_such_type(calls: Calls, type: int) -> None:
    """A type that does not exist is EINVAL."""
    fails(errno.EINVAL, program, calls, type=type)


ATTACH: dict[P, tuple[int, ...]] = {
    P.CGROUP_SOCK: (2, 12, 13, 34),
    P.CGROUP_SOCK_ADDR: (8, 9, 10, 11, 14, 15, 19, 20, 29, 30, 31, 32, 49, 50, 51, 52, 53),
    P.CGROUP_SKB: (0, 1),
    P.CGROUP_SOCKOPT: (21, 22),
    P.SK_LOOKUP: (36,),
    P.SK_REUSEPORT: (39, 40),
    P.NETFILTER: (45,),
}


@cases(**{type.label: (type, good) for type, good in ATTACH.items()})
def check_attach_type(calls: Calls, type: P, good: tuple[int, ...]) -> None:
    """These types are loaded for certain attach types only (EINVAL)."""
    text = RETURN_0 if type == P.SK_REUSEPORT else ONE
    implied = {P.CGROUP_SOCK: 2, P.SK_REUSEPORT: 39}
    for attach in range(60):
        if attach in good or (attach == 0 and type in implied):
            program(calls, text, type, attach_type=attach)
        else:
            fails(errno.EINVAL, program, calls, text, type, attach_type=attach)


@cases(xdp=P.XDP, socket_filter=P.SOCKET_FILTER, sched_cls=P.SCHED_CLS, tracepoint=P.TRACEPOINT)
def check_attach_type_of_no_matter(calls: Calls, type: P) -> None:
    """Other types do not look at the attach type when they are loaded."""
    program(calls, type=type, attach_type=99)


@cases(**{f"bit_{bit}": bit for bit in range(8)})
def check_flag(calls: Calls, bit: int) -> None:
    """Flags that ask for a way to verify are taken; sleepable only by some types (EINVAL)."""
    if bit == 4:
        fails(errno.EINVAL, program, calls, type=P.SOCKET_FILTER, flags=1 << bit)
    else:
        program(calls, type=P.XDP if bit == 5 else P.SOCKET_FILTER, flags=1 << bit)


@cases(**{f"bit_{bit}": bit for bit in (8, 9, 15, 17, 20, 31)})
def check_unknown_flag(calls: Calls, bit: int) -> None:
    """Flags that nobody knows are EINVAL."""
    fails(errno.EINVAL, program, calls, flags=1 << bit)


@cases(none=b"", million=bytes(8) * 1_000_001)
def check_length(calls: Calls, insns: bytes) -> None:
    """A program has 1 to a million instructions (E2BIG)."""
    fails(errno.E2BIG, program, calls, insns)


def check_bad_license(calls: Calls) -> None:
    """A license that is not there is EFAULT."""
    mem = Memory()
    attr = ProgLoad(prog_type=1, insn_cnt=2, insns=mem.pin(bytearray(code(RETURN_0))), license=BAD)
    fails(errno.EFAULT, calls.call, 5, attr, mem)


@cases(
    longest=(b"a23456789012345", 0), dots=(b"a.b_C.9", 0), too_long=(b"a" * 16, errno.EINVAL),
    dash=(b"a-b", errno.EINVAL), latin_1=(b"\xc0\xe4\xff", 0), utf_8=(b"\xc3\xa4", errno.EINVAL),
    space=(b" ", errno.EINVAL),
)  # fmt: skip
def check_name(calls: Calls, name: bytes, code: int) -> None:
    """A name is up to 15 letters, digits, dots and underscores (EINVAL).

    What a letter is says lib/ctype.c, which speaks Latin-1.
    """
    if code:
        fails(code, program, calls, name=name)
    else:
        same(calls.info(program(calls, name=name), ProgInfo).name, name)


@cases(socket_filter=P.SOCKET_FILTER, xdp=P.XDP)
def check_absent_device(calls: Calls, type: P) -> None:
    """A program for a device that does not exist is EINVAL."""
    attr = ProgLoad(prog_type=type, prog_ifindex=999_999)
    fails(errno.EINVAL, load, calls, attr, code(RETURN_0))


# --- maps in the code


@cases(
    map_fd="r1 = map_fd m; r0 = 0; exit", map_value="r1 = map_value m; r0 = 0; exit",
)  # fmt: skip
def check_map_fd(calls: Calls, text: str) -> None:
    """A map in the code: closed fd EBADF, another kind EINVAL; named before anything else."""
    fails(errno.EBADF, program, calls, text, m=CLOSED)
    fails(errno.EINVAL, program, calls, text, m=program(calls))
    fails(errno.EBADF, program, calls, text.replace("r0 = 0; ", ""), m=CLOSED)


@cases(
    two=("array", 2, 0, ENOTSUPP), hash=("hash", 1, 0, errno.EINVAL),
    past=("array", 1, 8, errno.EINVAL), inside=("array", 1, 7, 0),
)  # fmt: skip
def check_map_value(calls: Calls, kind: str, entries: int, offset: int, expected: int) -> None:
    """A direct value is inside the one value of an array."""
    type = MapType.ARRAY if kind == "array" else MapType.HASH
    fd = map(calls, type, max_entries=entries)
    text = f"r1 = map_value m + {offset}; r0 = 0; exit"
    if expected:
        fails(expected, program, calls, text, m=fd)
    else:
        program(calls, text, m=fd)


@cases(map_fd=1, map_idx=5)
def check_second_half_of_a_map(calls: Calls, pseudo: int) -> None:
    """The second half of a wide load that names a map is zero (EINVAL)."""
    text = f"raw 0x18 1 {pseudo} 0 m; raw 0 0 0 0 1; r0 = 0; exit"
    fails(errno.EINVAL, program, calls, text, m=map(calls), fd_array=[map(calls)])


@cases(seven=7, fifteen=15)
def check_unknown_pseudo(calls: Calls, pseudo: int) -> None:
    """A wide load that stands for something unknown is EINVAL."""
    fails(errno.EINVAL, program, calls, f"raw 0x18 1 {pseudo} 0 0; raw 0 0 0 0 0; r0 = 0; exit")


def check_map_by_index(calls: Calls) -> None:
    """A map may be named by its place in fd_array; without the array that is EPROTO."""
    text = "r1 = map_idx 1; r0 = 0; exit"
    program(calls, text, fd_array=[map(calls), map(calls)])
    fails(errno.EPROTO, program, calls, text)


@cases(closed=(CLOSED, errno.EBADF), too_many=(0, errno.E2BIG))
def check_fd_array(calls: Calls, fd: int, expected: int) -> None:
    """Every fd in an fd_array with a length must be a map's or a BTF's; there are 64 at most."""
    fds = [fd] if fd else [map(calls) for _ in range(65)]
    fails(expected, program, calls, maps=fds)
    program(calls, maps=fds[1:])


def check_too_many_maps(calls: Calls) -> None:
    """A program names at most 64 different maps (E2BIG)."""
    fds = [map(calls) for _ in range(65)]
    names: dict[str, Any] = {f"m{number}": fd for number, fd in enumerate(fds)}
    body = "; ".join(f"r1 = map_fd {name}" for name in names)
    fails(errno.E2BIG, program, calls, f"{body}; r0 = 0; exit", **names)
    fewer = body.rpartition(";")[0]
    program(calls, f"{fewer}; r1 = map_fd m0; r0 = 0; exit", **names)


def check_map_fd_of_any_mode(calls: Calls) -> None:
    """A map's fd for reading alone will do."""
    program(calls, "r1 = map_fd m; r0 = 0; exit", m=map(calls, MapType.HASH, flags=MapFlag.RDONLY))


# --- the verifier's log


class Log:
    """A buffer for the log, and a load that writes it."""

    def __init__(self, size: int, level: int = 1, **fields: Any) -> None:
        self.mem = Memory()
        self.buffer = bytearray(size)
        self.attr = ProgLoad(
            prog_type=1, log_level=level, log_size=size, log_buf=self.mem.pin(self.buffer)
        )
        for name, value in fields.items():
            setattr(self.attr, name, value)

    def load(self, calls: Calls, text: str = RETURN_0) -> int:
        return load(calls, self.attr, code(text), mem=self.mem)

    @property
    def text(self) -> str:
        return self.buffer.partition(b"\0")[0].decode()


def check_log_of_success(calls: Calls) -> None:
    """At level 1 the log ends with how many instructions were gone through."""
    log = Log(4096)
    log.load(calls)
    assert log.text.startswith("processed 2 insns (limit 1000000) "), log.text


def check_log_true_size(calls: Calls) -> None:
    """The kernel says how long the log is, with its NUL."""
    log = Log(4096)
    log.load(calls)
    same(log.attr.log_true_size, len(log.text) + 1)


def check_log_that_does_not_fit(calls: Calls) -> None:
    """A log that does not fit is ENOSPC; its end is kept, and the true size is told."""
    whole, short = Log(4096), Log(20)
    whole.load(calls)
    fails(errno.ENOSPC, short.load, calls)
    same(short.attr.log_true_size, whole.attr.log_true_size)
    assert whole.text.endswith(short.text), short.text


def check_log_of_failure(calls: Calls) -> None:
    """What was wrong stands in the log."""
    log = Log(4096)
    fails(errno.EACCES, log.load, calls, "exit")
    assert "R0 !read_ok" in log.text, log.text


@cases(
    level_16={"level": 16}, buffer_without_level={"level": 0}, no_size={"log_size": 0},
    no_buffer={"log_buf": 0}, huge={"log_size": 0x40000000},
)  # fmt: skip
def check_log_arguments(calls: Calls, wrong: dict[str, int]) -> None:
    """Level, buffer and size of the log must fit each other (EINVAL)."""
    fails(errno.EINVAL, Log(4096, **wrong).load, calls)


@cases(**{f"level_{level}": level for level in (1, 2, 3, 4, 7)})
def check_log_level(calls: Calls, level: int) -> None:
    """Levels 1 to 15 are sets of bits, and need no buffer."""
    Log(1 << 16, level).load(calls)
    load(calls, ProgLoad(prog_type=1, log_level=level), code(RETURN_0))


# --- BTF beside the code


def check_func_info_needs_btf(calls: Calls) -> None:
    """Functions without BTF are EINVAL; a closed BTF fd is EBADF, another kind EINVAL."""
    found = types(["main"])
    funcs = [(0, found.funcs[0])]
    fails(errno.EINVAL, program, calls, funcs=funcs)
    fails(errno.EBADF, program, calls, funcs=funcs, btf=CLOSED)
    fails(errno.EINVAL, program, calls, funcs=funcs, btf=map(calls))


FUNCS: dict[str, tuple[Any, int]] = {
    "right": (lambda t: [(0, t.funcs[0]), (2, t.funcs[1])], 0),
    "one_missing": (lambda t: [(0, t.funcs[0])], errno.EINVAL),
    "elsewhere": (lambda t: [(0, t.funcs[0]), (1, t.funcs[1])], errno.EINVAL),
    "not_at_0": (lambda t: [(1, t.funcs[0]), (2, t.funcs[1])], errno.EINVAL),
    "twice": (lambda t: [(0, t.funcs[0]), (0, t.funcs[1])], errno.EINVAL),
    "no_function": (lambda t: [(0, t.s32), (2, t.funcs[1])], errno.EINVAL),
    "no_type": (lambda t: [(0, 999), (2, t.funcs[1])], errno.EINVAL),
}


@cases(**FUNCS)
def check_func_info(calls: Calls, choose: Any, expected: int) -> None:
    """There is a function's type for each function, in order (EINVAL)."""
    found = types(["main", "sub"])
    text = "call sub; exit; sub: r0 = 1; exit"
    arguments: dict[str, Any] = {"btf": btf(calls, found.data), "funcs": choose(found)}
    if expected:
        fails(expected, program, calls, text, **arguments)
    else:
        program(calls, text, **arguments)


LINES: dict[str, tuple[Any, int]] = {
    "right": (lambda f, s: [(0, f, s, 1024), (2, f, s, 2048)], 0),
    "first_missing": (lambda f, s: [(1, f, s, 1024), (2, f, s, 1)], errno.EINVAL),
    "function_missing": (lambda f, s: [(0, f, s, 1024)], errno.EINVAL),
    "unordered": (lambda f, s: [(0, f, s, 1), (2, f, s, 1), (1, f, s, 1)], errno.EINVAL),
    "past_the_end": (lambda f, s: [(0, f, s, 1), (2, f, s, 1), (9, f, s, 1)], errno.EINVAL),
    "no_string": (lambda f, s: [(0, 99999, s, 1), (2, f, s, 1)], errno.EINVAL),
}


@cases(**LINES)
def check_line_info(calls: Calls, choose: Any, expected: int) -> None:
    """Lines go up through the code and begin with each function (EINVAL)."""
    found = types(["main", "sub"], ["a.c", "int main"])
    text = "call sub; exit; sub: r0 = 1; exit"
    lines = choose(found.strings["a.c"], found.strings["int main"])
    arguments = {
        "btf": btf(calls, found.data),
        "funcs": [(0, found.funcs[0]), (2, found.funcs[1])],
        "lines": lines,
    }
    if expected:
        fails(expected, program, calls, text, **arguments)
    else:
        program(calls, text, **arguments)


@cases(small=4, odd=10, huge=256)
def check_record_size(calls: Calls, size: int) -> None:
    """A record of a function has 8 bytes or more, in steps of 4 (EINVAL)."""
    found = types(["main"])
    mem = Memory()
    attr = ProgLoad(prog_type=1, prog_btf_fd=btf(calls, found.data), func_info_cnt=1)
    attr.func_info_rec_size = size
    attr.func_info = mem.pin(bytearray(u32(0, found.funcs[0]) + bytes(300)))
    fails(errno.EINVAL, load, calls, attr, code(RETURN_0), mem=mem)


def check_longer_records(calls: Calls) -> None:
    """Longer records are fine while what is unknown is zero (E2BIG)."""
    found = types(["main"])
    for rest, expected in ((bytes(4), 0), (b"\1\0\0\0", errno.E2BIG)):
        mem = Memory()
        attr = ProgLoad(prog_type=1, prog_btf_fd=btf(calls, found.data), func_info_cnt=1)
        attr.func_info_rec_size = 12
        attr.func_info = mem.pin(bytearray(u32(0, found.funcs[0]) + rest))
        if expected:
            fails(expected, load, calls, attr, code(RETURN_0), mem=mem)
        else:
            load(calls, attr, code(RETURN_0), mem=mem)


def check_records_that_are_not_there(calls: Calls) -> None:
    """Records that cannot be read are EFAULT."""
    found = types(["main"])
    attr = ProgLoad(prog_type=1, prog_btf_fd=btf(calls, found.data), func_info_cnt=1)
    attr.func_info_rec_size, attr.func_info = 8, BAD
    fails(errno.EFAULT, load, calls, attr, code(RETURN_0))


# --- attaching to types of the kernel


@cases(
    closed_program=({"attach_prog_fd": CLOSED}, errno.EINVAL),
    id_without_need=({"attach_btf_id": 1}, errno.EINVAL),
)  # fmt: skip
def check_attach_target(calls: Calls, wrong: dict[str, Any], expected: int) -> None:
    """A target to attach to is for tracing programs and their like (EINVAL)."""
    attr = ProgLoad(prog_type=P.SOCKET_FILTER, **wrong)
    fails(expected, load, calls, attr, code(RETURN_0))


def check_attach_to_other_btf(calls: Calls) -> None:
    """A BTF object that is not the kernel's cannot be attached to (ENOTSUPP)."""
    attr = ProgLoad(prog_type=P.TRACING, expected_attach_type=A.TRACE_RAW_TP, attach_btf_id=1)
    attr.attach_prog_fd = btf(calls)
    fails(ENOTSUPP, load, calls, attr, code(RETURN_0))
