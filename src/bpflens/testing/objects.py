"""Objects that clang compiled, loaded through any kernel's door: the other half of `elf`."""

from __future__ import annotations

from typing import NamedTuple

from bpflens.abi.attrs import ProgLoad
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.errors import FormatError
from bpflens.insn import opcodes as op
from bpflens.insn.code import encode
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing import builders, kernel_types
from bpflens.testing.builders import u32
from bpflens.testing.elf import MapSpec, Object, Program

SLEEPABLE = 0x10


class Kind(NamedTuple):
    """What a section's name says of the programs in it."""

    type: P
    attach: int = 0
    flags: int = 0
    target: str = ""
    """Prefix of the function of the kernel that the rest of the name stands for."""


SECTIONS: dict[str, Kind] = {
    "socket": Kind(P.SOCKET_FILTER),
    "tc": Kind(P.SCHED_CLS),
    "xdp": Kind(P.XDP, A.XDP),
    "tp/": Kind(P.TRACEPOINT),
    "raw_tp/": Kind(P.RAW_TRACEPOINT),
    "tp_btf/": Kind(P.TRACING, A.TRACE_RAW_TP, target="btf_trace_"),
    "iter/": Kind(P.TRACING, A.TRACE_ITER, target="bpf_iter_"),
    "kprobe": Kind(P.KPROBE),
    "perf_event": Kind(P.PERF_EVENT),
    "cgroup_skb/ingress": Kind(P.CGROUP_SKB, A.CGROUP_INET_INGRESS),
    "cgroup_skb/egress": Kind(P.CGROUP_SKB, A.CGROUP_INET_EGRESS),
    "cgroup/sock_create": Kind(P.CGROUP_SOCK, A.CGROUP_INET_SOCK_CREATE),
    "cgroup/getsockopt": Kind(P.CGROUP_SOCKOPT, A.CGROUP_GETSOCKOPT),
    "cgroup/setsockopt": Kind(P.CGROUP_SOCKOPT, A.CGROUP_SETSOCKOPT),
    "cgroup/connect4": Kind(P.CGROUP_SOCK_ADDR, A.CGROUP_INET4_CONNECT),
    "cgroup/dev": Kind(P.CGROUP_DEVICE, A.CGROUP_DEVICE),
    "cgroup/sysctl": Kind(P.CGROUP_SYSCTL, A.CGROUP_SYSCTL),
    "sockops": Kind(P.SOCK_OPS, A.CGROUP_SOCK_OPS),
    "sk_lookup": Kind(P.SK_LOOKUP, A.SK_LOOKUP),
    "syscall": Kind(P.SYSCALL, flags=SLEEPABLE),
}
"""Names of sections; one that ends in `/` is followed by what to attach to."""

NO_BTF = frozenset(
    {T.PERF_EVENT_ARRAY, T.CGROUP_ARRAY, T.STACK_TRACE, T.ARRAY_OF_MAPS, T.HASH_OF_MAPS}
    | {T.DEVMAP, T.DEVMAP_HASH, T.CPUMAP, T.XSKMAP, T.SOCKMAP, T.SOCKHASH}
)
"""Types of maps that refuse BTF (map_check_btf() without the operation)."""


class Loaded(NamedTuple):
    """The fds of what was loaded, by name."""

    btf: int
    maps: dict[str, int]
    programs: dict[str, int]


def load(calls: Calls, found: Object) -> Loaded:
    """Load BTF, maps and programs; what an object says is in a slot from the start, is put there.

    If something fails, what was loaded before is closed. Raises SyscallError; NotOffered where
    the kernel has not what a program names.
    """
    loaded = Loaded(calls.btf_load(found.btf), {}, {})
    try:
        for spec in found.maps.values():
            loaded.maps[spec.name] = _create(calls, spec, loaded.btf)
        for program in found.programs.values():
            loaded.programs[program.name] = _load(calls, program, found, loaded)
        for spec in found.maps.values():
            for slot, name in spec.initial:
                held = loaded.programs if spec.type == T.PROG_ARRAY else loaded.maps
                calls.map_update(loaded.maps[spec.name], u32(slot), u32(held[name]))
    except BaseException:
        unload(calls, loaded)
        raise
    return loaded


def unload(calls: Calls, loaded: Loaded) -> None:
    """Close everything."""
    for fd in (*loaded.programs.values(), *loaded.maps.values(), loaded.btf):
        calls.close(fd)


def name_of(spec: MapSpec) -> str:
    """What the map is called: sections of data without their dot, all cut to 15 characters."""
    return spec.name.replace(".", "_").strip("_")[:15]


def _create(calls: Calls, spec: MapSpec, btf: int) -> int:
    inner = _create(calls, spec.inner, btf) if spec.inner else 0
    typed = spec.value_type and spec.type not in NO_BTF
    fd = builders.map(
        calls,
        spec.type,
        key_size=spec.key_size,
        value_size=spec.value_size,
        max_entries=spec.max_entries,
        flags=spec.flags,
        extra=spec.extra,
        name=name_of(spec),
        inner=inner,
        btf=(btf, spec.key_type, spec.value_type) if typed else (0, 0, 0),
    )
    if inner:
        calls.close(inner)
    if spec.data:
        calls.map_update(fd, u32(0), spec.data)
        if spec.name.startswith(".rodata"):
            calls.map_freeze(fd)
    return fd


def kind_of(section: str) -> tuple[Kind, str]:
    """What a section's name says, and what comes after it. Raises FormatError."""
    for name, kind in SECTIONS.items():
        if section == name or (name.endswith("/") and section.startswith(name)):
            return kind, section.removeprefix(name)
    raise FormatError(f"section {section!r} is not known", 0)


def _load(calls: Calls, program: Program, found: Object, loaded: Loaded) -> int:
    kind, rest = kind_of(program.section)
    mem = Memory()
    attr = ProgLoad(
        prog_type=kind.type,
        expected_attach_type=kind.attach,
        prog_flags=kind.flags,
        prog_name=program.name.encode()[:15],
        prog_btf_fd=loaded.btf,
    )
    if kind.target == "btf_trace_":
        attr.attach_btf_id = kernel_types.typedef_id(calls, kind.target + rest)
    elif kind.target:
        attr.attach_btf_id = kernel_types.function_id(calls, kind.target + rest)
    attr.func_info = mem.pin(bytearray(b"".join(u32(*row) for row in program.funcs)))
    attr.func_info_cnt, attr.func_info_rec_size = len(program.funcs), 8
    attr.line_info = mem.pin(bytearray(b"".join(u32(*row) for row in program.lines)))
    attr.line_info_cnt, attr.line_info_rec_size = len(program.lines), 16
    return builders.load(calls, attr, _resolved(calls, program, loaded), found.license, mem)


def _resolved(calls: Calls, program: Program, loaded: Loaded) -> bytes:
    """The program's bytes with fds and the kernel's type ids in their places."""
    insns = list(program.insns)
    for at, name, offset in program.maps:
        fd = loaded.maps[name]
        if offset is None:
            insns[at] = insns[at]._replace(src=op.PSEUDO_MAP_FD, imm=fd)
        else:
            insns[at] = insns[at]._replace(src=op.PSEUDO_MAP_VALUE, imm=fd)
            insns[at + 1] = insns[at + 1]._replace(imm=offset)
    for at, name in program.kernel_calls:
        id = kernel_types.function_id(calls, name)
        insns[at] = insns[at]._replace(src=op.PSEUDO_KFUNC_CALL, imm=id)
    return encode(insns)
