"""Our listing of real programs, line by line beside `bpftool prog dump xlated`.

The programs come from Debian's libbpf-tools, bpftrace, xdp-tools, and from C and assembly of our
own. Every one is loaded in a mount namespace of its own and goes away with the process that holds
it. Nothing is masked: within one boot the addresses in both texts are the same.
"""

from __future__ import annotations

import ctypes
import json
import os
import pty
import re
import select
import shlex
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from bpflens.btf.parse import Btf
from bpflens.btf.types import Enum
from bpflens.insn import Insn, decode, encode
from bpflens.insn import opcodes as op
from bpflens.insn.asm import assemble, assemble_insns
from bpflens.insn.facts import facts
from bpflens.insn.flow import flow
from bpflens.insn.helpers import HELPERS
from bpflens.insn.listing import Row, as_data, func_infos, kernel_calls, line_infos, lines, rows
from bpflens.insn.prototype import prototype
from bpflens.insn.tag import tag
from bpflens.insn.text import CallName, text

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("bpftool") is None, reason="needs bpftool"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)"),
]

LIBBPF_TOOLS = {
    **dict.fromkeys(["execsnoop", "opensnoop", "exitsnoop", "runqslower", "mountsnoop"], ""),
    **dict.fromkeys(["sigsnoop", "tcpstates", "drsnoop"], ""),
    **dict.fromkeys(["runqlat", "cpudist", "softirqs", "hardirqs", "offcputime"], "1000"),
    **dict.fromkeys(["wakeuptime", "biolatency"], "1000"),
    "syscount": "-i 1000",
}
BPFTRACE = [
    "tracepoint:syscalls:sys_enter_openat { @[comm] = count(); }",
    "tracepoint:raw_syscalls:sys_enter { @[pid, args->id] = hist(nsecs); }",
    'tracepoint:sched:sched_switch { if (args->prev_pid > 1) { printf("%s", args->prev_comm); } }',
    "tracepoint:syscalls:sys_exit_read /args->ret > 0/ { @b = lhist(args->ret, 0, 4096, 256); }",
    "software:page-faults:100 { @[ustack(3)] = sum(1); @k[kstack] = max(tid); }",
]
# xdpdump's object is no program yet: xdpdump writes the target's function into it as it starts.
OBJECTS = sorted(
    path
    for path in Path("/usr/lib/x86_64-linux-gnu/bpf").glob("xdp*.o")
    if path.name != "xdpdump_bpf.o"
)


# What the kernel tells of a program: bpf(2) by hand, as this room has no door of its own.


class Told(NamedTuple):
    """The parts of struct bpf_prog_info that a listing is made of."""

    xlated: bytes
    ksyms: tuple[int, ...]
    functions: bytes
    source: bytes
    maps: tuple[int, ...]
    btf: Btf | None


_libc = ctypes.CDLL(None, use_errno=True)
SYS_BPF = 321
PROG_LOAD, PROG_GET_FD_BY_ID, OBJ_GET_INFO, BTF_GET_FD_BY_ID = 5, 13, 15, 19


def bpf(cmd: int, attr: bytes) -> tuple[int, bytes]:
    """bpf(2); the result, and the attr as it is then."""
    buffer = ctypes.create_string_buffer(attr, 168)
    result = _libc.syscall(SYS_BPF, cmd, buffer, 168)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer.raw


def info(fd: int, data: bytes) -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD with `data` as what goes in."""
    buffer = ctypes.create_string_buffer(data, len(data))
    bpf(OBJ_GET_INFO, struct.pack("<IIQ", fd, len(data), ctypes.addressof(buffer)))
    return buffer.raw


def told_of(fd: int) -> Told:
    """All that a listing needs, by two looks: the sizes, then the parts."""
    first = info(fd, bytes(232))

    def told(offset: int) -> int:
        return int(struct.unpack_from("<I", first, offset)[0])

    wanted: dict[
        int, tuple[int, int, int | None]
    ] = {  # pointer: count, bytes for each, record size
        56: (52, 4, None),
        32: (20, 1, None),
        112: (104, 8, None),
        136: (144, 8, 132),
        152: (148, 16, 172),
    }
    ask, parts = bytearray(232), {}
    for pointer, (count, size, record) in wanted.items():
        parts[pointer] = ctypes.create_string_buffer(max(1, told(count) * size))
        struct.pack_into("<I", ask, count, told(count))
        struct.pack_into("<Q", ask, pointer, ctypes.addressof(parts[pointer]))
        if record is not None:
            struct.pack_into("<I", ask, record, size)
    info(fd, bytes(ask))
    raw = {
        pointer: parts[pointer].raw[: told(wanted[pointer][0]) * wanted[pointer][1]]
        for pointer in wanted
    }
    ksyms = struct.unpack(f"<{len(raw[112]) // 8}Q", raw[112])
    btf = btf_of(told(128)) if told(128) else None
    maps = struct.unpack(f"<{len(raw[56]) // 4}I", raw[56])
    return Told(raw[32], ksyms, raw[136], raw[152], maps, btf)


def btf_of(id: int) -> Btf:
    fd, _ = bpf(BTF_GET_FD_BY_ID, struct.pack("<I", id))
    try:
        size = struct.unpack_from("<I", info(fd, bytes(32)), 8)[0]
        data = ctypes.create_string_buffer(size)
        info(fd, struct.pack("<QI20x", ctypes.addressof(data), size))
        return Btf.parse(data.raw)
    finally:
        os.close(fd)


def told_by_id(id: int) -> Told:
    fd, _ = bpf(PROG_GET_FD_BY_ID, struct.pack("<I", id))
    try:
        return told_of(fd)
    finally:
        os.close(fd)


def symbols() -> dict[int, list[str]]:
    """/proc/kallsyms now, which has the programs' own functions too."""
    found: dict[int, list[str]] = {}
    with open("/proc/kallsyms") as file:
        for line in file:
            address, _, name = line.split()[:3]
            found.setdefault(int(address, 16), []).append(name)
    return found


@cache
def call_base() -> int:
    with open("/proc/kallsyms") as file:
        for line in file:
            if line.split()[2] == "__bpf_call_base":
                return int(line.split()[0], 16)
    raise AssertionError("no __bpf_call_base")


# Loading


def attached(pid: int, said: str) -> bool:
    """Whether a loader has come to attach: it holds a program, and a link or a perf event.

    libbpf attaches when all is loaded. bpftrace has a perf event for its output before it loads,
    but none while it tries out what the kernel can do.
    """
    lines = list(fdinfo(pid))
    if any(line.startswith("link_id:") for line in lines):
        return True
    if not any(line.startswith("prog_id:") for line in lines):
        return False
    with suppress(FileNotFoundError, ProcessLookupError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                if os.readlink(f"/proc/{pid}/fd/{name}") == "anon_inode:[perf_event]":
                    return True
    return False


@contextmanager
def holding(
    command: str, ready: Callable[[int, str], bool] = attached
) -> Iterator[tuple[int, str]]:
    """Run a shell command with tracefs in a mount namespace of its own until it is ready.

    Gives its pid, and what it said up to there, all of it if it ended instead.
    """
    master, slave = pty.openpty()
    mounts = "mount -t tracefs tracefs /sys/kernel/tracing && "
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", mounts + command],
        stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    ended = os.pidfd_open(process.pid)
    said = b""
    try:
        while not ready(process.pid, said.decode(errors="replace")):
            readable, _, _ = select.select([master, ended], [], [], 0.05)
            if master in readable:
                with suppress(OSError):  # EIO: nobody holds the other end
                    said += os.read(master, 65536)
            if ended in readable:
                break
        yield process.pid, said.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(ended)
        os.close(master)


def fdinfo(pid: int) -> Iterator[str]:
    """The lines that the kernel tells of a process's open files."""
    folder = f"/proc/{pid}/fdinfo"
    with suppress(FileNotFoundError, ProcessLookupError):
        for name in os.listdir(folder):
            with suppress(FileNotFoundError), open(f"{folder}/{name}") as file:
                yield from file


def held_programs(pid: int) -> list[int]:
    """Ids of the programs that a process holds by fd."""
    return sorted({int(line.split()[1]) for line in fdinfo(pid) if line.startswith("prog_id:")})


# Comparing


def bpftool(id: int, *options: str, json: bool = False) -> list[str]:
    done = subprocess.run(
        ["bpftool", *["-j"] * json, "prog", "dump", "xlated", "id", str(id), *options],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def calls(program: Told, names: dict[int, list[str]]) -> CallName:
    return kernel_calls(lambda at: names.get(at, [None])[0], call_base(), program.ksyms)


def ours(program: Told, names: dict[int, list[str]]) -> list[Row]:
    btf = program.btf

    def string(offset: int) -> str | None:
        assert btf is not None
        return btf.name(offset)

    return list(
        rows(
            decode(program.xlated),
            call=calls(program, names),
            functions=func_infos(program.functions) if btf else (),
            source=line_infos(program.source) if btf else (),
            prototype=lambda type_id: prototype(btf, type_id) if btf else "",
            string=string,
        )
    )


def in_old_words(number: str, insn: Insn) -> str | None:
    """What bpftool 7.1, made from Linux 6.1, prints for a slot that is younger than it."""
    code, kind = insn.code, op.class_of(insn.code)
    if kind == op.ALU64 and op.op_of(code) == op.END:
        return f"{number}BUG_alu64_{code:02x}"
    if kind in (op.ALU, op.ALU64) and insn.off:
        return number + text(insn._replace(off=0))
    if kind == op.LDX and op.mode_of(code) == op.MEMSX:
        return f"{number}BUG_ldx_{code:02x}"
    if kind == op.STX and insn.imm in (op.LOAD_ACQ, op.STORE_REL):
        return f"{number}BUG_{code:02x}"
    if code == op.GOTOL:
        return f"{number}({code:02x}) if w{insn.dst} jmp {insn.imm:#x} goto pc{insn.off:+d}"
    return None


def check_json(id: int, listing: list[Row]) -> None:
    """Our data beside `bpftool -j`, but for the words of what is younger than it."""
    for option in ("opcodes", "linum"):
        (told,) = bpftool(id, option, json=True)
        theirs = json.loads(told)
        mine = [
            as_data(row, opcodes=option == "opcodes", linum=option == "linum") for row in listing
        ]
        for left, right, row in zip(mine, theirs, listing, strict=True):
            if left["disasm"] != right["disasm"]:
                assert right["disasm"] == in_old_words("", row.slots[0])
                left["disasm"] = right["disasm"]
            if left.get("src") != right.get("src"):
                # bpftool's json_writer.c writes a backslash as a line end.
                left["src"] = left["src"].replace("\\", "\n")
            assert left == right


def check_assembly(listing: list[Row]) -> None:
    """What we print assembles to what was printed, calls apart: their text does not tell all."""
    for row in listing:
        first = row.slots[0]
        is_call = op.op_of(first.code) == op.CALL and op.class_of(first.code) == op.JMP
        if (is_call and first.src) or (first.code == op.LD_IMM64 and first.src == op.PSEUDO_FUNC):
            continue
        assert tuple(assemble_insns(row.text)) == row.slots, row.text


def check_analyses(program: Told, names: dict[int, list[str]]) -> None:
    """What must hold for any program that the verifier let pass, and cut dead code from."""
    insns = decode(program.xlated)
    entries = [info.insn_off for info in func_infos(program.functions)]
    graph = flow(insns, xlated=True, entries=entries)
    assert not graph.bad
    assert all(block.reachable for block in graph.blocks)
    assert not entries or list(graph.functions) == entries
    found = facts(insns, xlated=True, entries=entries, call=calls(program, names))
    assert {use.map.number for use in found.maps} <= set(program.maps)
    assert all(stack.depth <= op.STACK_LIMIT for stack in found.stacks)
    # A callback is known by its first slot: nothing in a listing names it.
    assert all(call.name or call.kind == "callback" for call in found.calls)
    assert {call.number for call in found.calls if call.kind == "callback"} <= set(entries)
    assert found.returns


def compare(ids: Sequence[int]) -> tuple[int, int]:
    """How many lines are equal, and how many differ because the installed bpftool is too old.

    Fails at any other difference.
    """
    assert ids, "nothing was loaded"
    equal = younger = 0
    for id in ids:
        program = told_by_id(id)
        insns = decode(program.xlated)
        assert encode(insns) == program.xlated
        names = symbols()
        check_analyses(program, names)
        listing = ours(program, names)
        check_json(id, listing)
        check_assembly(listing)
        for option in ("", "linum", "opcodes"):
            theirs = bpftool(id, *option.split())
            mine = list(lines(listing, opcodes=option == "opcodes", linum=option == "linum"))
            assert len(mine) == len(theirs), f"program {id}"
            for left, right in zip(mine, theirs, strict=True):
                if left == right:
                    equal += 1
                    continue
                number = re.match(r" *(\d+): ", left)
                assert number is not None, (left, right)
                assert right == in_old_words(number[0], insns[int(number[1])]), left
                younger += 1
    return equal, younger


def check(capsys: pytest.CaptureFixture[str], what: str, ids: Sequence[int]) -> None:
    """Compare, and put the figures on the terminal."""
    equal, younger = compare(ids)
    with capsys.disabled():
        print(f"\n  {what}: {len(ids)} programs, {equal} lines equal, {younger} younger", end=" ")


# What is compared


@pytest.mark.parametrize("tool", LIBBPF_TOOLS)
def test_libbpf_tools(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    with holding(f"exec {tool} {LIBBPF_TOOLS[tool]}") as (pid, said):
        ids = held_programs(pid)
        if not ids:
            pytest.skip(f"{tool} does not load here: {said.strip()[-200:]}")
        check(capsys, tool, ids)


@pytest.mark.skipif(shutil.which("bpftrace") is None, reason="needs bpftrace")
@pytest.mark.parametrize("script", BPFTRACE)
def test_bpftrace(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    with holding(f"exec bpftrace -e {shlex.quote(script)}", attached) as (pid, said):
        ids = held_programs(pid)
        if not ids:
            pytest.skip(f"bpftrace does not attach this here: {said.strip()[-200:]}")
        check(capsys, "bpftrace", ids)


@pytest.mark.skipif(shutil.which("bpftrace") is None, reason="needs bpftrace")
def test_everything_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """All of the tools together, as on a machine that is being looked at."""
    tools = [tool for tool in LIBBPF_TOOLS if shutil.which(tool)]
    commands = [f"exec {tool} {LIBBPF_TOOLS[tool]}" for tool in tools]
    commands += [f"exec bpftrace -e {shlex.quote(script)}" for script in BPFTRACE]
    with ExitStack() as stack:
        ids = [
            id
            for command in commands
            for id in held_programs(stack.enter_context(holding(command))[0])
        ]
        for path in OBJECTS:
            with suppress(pytest.skip.Exception):
                ids += stack.enter_context(pinned(path))
        if len(set(ids)) < 20:
            pytest.skip("too few of the tools load here")
        check(capsys, "at once", sorted(set(ids)))


@contextmanager
def pinned(path: Path) -> Iterator[list[int]]:
    """The ids of an object's programs while bpftool's pins in a private bpffs keep them."""
    script = f"""
        mount -t bpf bpf /sys/fs/bpf && mkdir /sys/fs/bpf/x &&
        bpftool prog loadall {shlex.quote(str(path))} /sys/fs/bpf/x &&
        for pin in /sys/fs/bpf/x/*; do bpftool prog show pinned $pin; done
        echo settled; exec cat
    """
    with holding(script, lambda pid, said: "settled" in said) as (_, said):
        ids = [int(id) for id in re.findall(r"(?m)^(\d+): \w+  name ", said)]
        if not ids:
            pytest.fail(f"bpftool does not load this: {said.strip()[-300:]}")
        yield ids


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.stem)
def test_xdp_tools_objects(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pinned(path) as ids:
        check(capsys, path.stem, ids)


@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
@pytest.mark.parametrize("cpu", ["v1", "v2", "v3"])
def test_c_of_our_own(cpu: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Subprograms, callbacks, global data, tail calls, atomics and kfuncs in one object."""
    source = Path(__file__).parent.parent / "data" / "insn" / "everything.c"
    built = tmp_path / "everything.o"
    done = subprocess.run(
        ["clang", "-target", "bpf", f"-mcpu={cpu}", "-g", "-O2", "-c", source, "-o", built,
         "-I", f"/usr/include/{os.uname().machine}-linux-gnu"],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"clang: {done.stderr[-300:]}")
    with pinned(built) as ids:
        check(capsys, f"everything.c {cpu}", ids)


SCHED_CLS = 3
ASSEMBLED = {
    "every ALU operation": """
        r0 = 7
        w1 = -2
        r0 += r1
        r0 -= 1
        w0 *= w1
        r0 |= 0x10
        r0 &= r1
        r0 <<= 3
        w0 >>= 1
        r0 s>>= 2
        r0 ^= r1
        r0 /= 3
        w0 %= 5
        r0 s/= 3
        w0 s%= 7
        r2 = (s8)r0
        w2 = (s16)w0
        r2 = (s32)r0
        r0 = -r0
        r0 = be16 r0
        r0 = bswap64 r0
        r2 = 0x123456789abcdef ll
        exit
    """,
    "memory and atomics": """
        r1 = 5
        *(u64 *)(r10 -8) = r1
        *(u32 *)(r10 -16) = -1
        *(u32 *)(r10 -12) = 0
        r2 = *(s32 *)(r10 -16)
        r3 = *(u16 *)(r10 -8)
        lock *(u64 *)(r10 -8) += r1
        lock *(u32 *)(r10 -16) ^= r1
        r1 = atomic64_fetch_or((u64 *)(r10 -8), r1)
        r1 = atomic64_xchg((u64 *)(r10 -8), r1)
        r0 = 3
        r0 = atomic_cmpxchg((u32 *)(r10 -16), r0, r1)
        r4 = load_acquire((u64 *)(r10 -8))
        store_release((u64 *)(r10 -8), r4)
        r0 = 0
        exit
    """,
    "jumps and calls": """
        r6 = r1
        call get_prandom_u32
        if w0 s< -3 goto small
        if r0 & 0x80 goto small
        if r0 != r6 goto next
    next:
        may_goto next2
    next2:
        call sub
        gotol out
    small:
        r0 = 1
    out:
        exit
    sub:
        call ktime_get_ns
        if r0 > 0xffffffff goto done
        r0 = 2
    done:
        exit
    """,
    "packet loads of classic BPF": """
        r6 = r1
        r0 = *(u16 *)skb[12]
        r7 = 2
        r0 = *(u8 *)skb[r7 + 12]
        exit
    """,
}


@pytest.mark.parametrize("name", ASSEMBLED)
def test_assembly_of_our_own_loads(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = assemble(ASSEMBLED[name])
    insns, license = ctypes.create_string_buffer(code, len(code)), ctypes.c_char_p(b"GPL")
    log = ctypes.create_string_buffer(65536)
    attr = struct.pack(
        "<IIQQIIQ", SCHED_CLS, len(code) // 8, ctypes.addressof(insns),
        ctypes.cast(license, ctypes.c_void_p).value, 1, len(log), ctypes.addressof(log),
    )  # fmt: skip
    try:
        fd, _ = bpf(PROG_LOAD, attr)
    except OSError as error:
        raise AssertionError(log.value.decode()) from error
    try:
        (id,) = struct.unpack_from("<I", info(fd, bytes(8)), 4)
        assert info(fd, bytes(16))[8:] in (tag(code), tag(code, "sha1"))
        check(capsys, name, [id])
    finally:
        os.close(fd)


def test_the_helper_table_is_this_kernels() -> None:
    """The table has every helper that the running kernel has, under the same name."""
    with open("/sys/kernel/btf/vmlinux", "rb") as file:
        functions = Btf.parse(file.read()).find("bpf_func_id", Enum)
    assert functions is not None
    helpers = {
        number: name.removeprefix("BPF_FUNC_")
        for name, number in functions.values
        if name.startswith("BPF_FUNC_")
    }
    assert helpers.items() <= HELPERS.items()
