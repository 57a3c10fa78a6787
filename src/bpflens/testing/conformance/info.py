"""OBJ_GET_INFO_BY_FD: how much is told, into which bytes, and what it says."""

from __future__ import annotations

import errno
import hashlib
from typing import NamedTuple

from bpflens.abi.attrs import ObjInfo, ProgBindMap
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import BtfInfo, LinkInfo, MapInfo, ProgInfo
from bpflens.port.calls import MAP_IDS, Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import TRACEPOINT, Bench
from bpflens.testing.builders import btf, map, program, read_btf, types, u32, u64
from bpflens.testing.conformance.ids import make
from bpflens.testing.conformance.suite import BAD, cases, fails, same

SIZES = {"prog": 232, "map": 104, "btf": 32, "link": 64}
"""sizeof of the info structs of 6.18."""
CHECKED = {"prog": 228, "map": 100, "btf": 32, "link": 64}
"""Where what the caller gives must be zero from: bpf_check_uarg_tail_zero() is told the end of
the last member, which leaves out the padding behind it."""


class Told(NamedTuple):
    """What a call wrote: the buffer, and the length that it told."""

    data: bytes
    length: int


def ask(calls: Calls, fd: int, data: bytes, length: int | None = None) -> Told:
    """Ask with these bytes in the buffer."""
    mem = Memory()
    buffer = bytearray(data)
    attr = ObjInfo(bpf_fd=fd, info=mem.pin(buffer))
    attr.info_len = len(data) if length is None else length
    calls.call(Cmd.OBJ_GET_INFO_BY_FD, attr, mem)
    return Told(bytes(buffer), attr.info_len)


@cases(**{kind: kind for kind in SIZES})
def check_length(calls: Calls, kind: str) -> None:
    """The kernel tells as much as it knows, and how much that was."""
    fd, _ = make(calls, kind)
    same(ask(calls, fd, bytes(400)).length, SIZES[kind])


@cases(**{kind: kind for kind in SIZES})
def check_short_buffer(calls: Calls, kind: str) -> None:
    """A shorter buffer gets the beginning, at any length; length 0 needs no buffer at all."""
    fd, _ = make(calls, kind)
    whole = ask(calls, fd, bytes(SIZES[kind])).data
    for length in (1, 4, 7, 8, 16, 31):
        told = ask(calls, fd, bytes(length))
        same(told, Told(whole[:length], length))
    attr = ObjInfo(bpf_fd=fd)
    calls.call(Cmd.OBJ_GET_INFO_BY_FD, attr)
    same(attr.info_len, 0)


@cases(**{kind: kind for kind in SIZES})
def check_nothing_written_behind(calls: Calls, kind: str) -> None:
    """Nothing is written behind the length that the caller gave."""
    fd, _ = make(calls, kind)
    told = ask(calls, fd, bytes(8) + b"\xee" * 400, 8)
    same(told.data[8:], b"\xee" * 400)


@cases(**{kind: kind for kind in SIZES})
def check_unknown_tail_is_zero(calls: Calls, kind: str) -> None:
    """Bytes of which the kernel knows nothing must be zero (E2BIG)."""
    fd, _ = make(calls, kind)
    fails(errno.E2BIG, ask, calls, fd, bytes(SIZES[kind]) + b"\1")
    fails(errno.E2BIG, ask, calls, fd, bytes(399) + b"\1")


@cases(prog="prog", map="map")
def check_padding_is_unknown(calls: Calls, kind: str) -> None:
    """The padding at the end of the struct counts as unknown (E2BIG)."""
    fd, _ = make(calls, kind)
    buffer = bytearray(SIZES[kind])
    buffer[CHECKED[kind]] = 1
    fails(errno.E2BIG, ask, calls, fd, bytes(buffer))


@cases(**{kind: kind for kind in SIZES})
def check_buffer_beyond_a_page(calls: Calls, kind: str) -> None:
    """A buffer longer than a page is E2BIG."""
    fd, _ = make(calls, kind)
    ask(calls, fd, bytes(4096))
    fails(errno.E2BIG, ask, calls, fd, bytes(4097))


@cases(**{kind: kind for kind in SIZES})
def check_bad_buffer(calls: Calls, kind: str) -> None:
    """A buffer that is not there is EFAULT, and the length stays."""
    fd, _ = make(calls, kind)
    attr = ObjInfo(bpf_fd=fd, info_len=32, info=BAD)
    fails(errno.EFAULT, calls.call, Cmd.OBJ_GET_INFO_BY_FD, attr)
    same(attr.info_len, 32)


# --- what stays as the caller left it

ECHOED = {
    "prog": {
        "ifindex": 80, "netns_dev": 88, "netns_ino": 96, "btf_id": 128,
        "bits_beside_gpl": 85, "attach_btf_obj_id": 220,
    },
    "map": {
        "ifindex": 40, "netns_dev": 48, "netns_ino": 56, "btf_id": 64, "key_type": 68,
        "value_type": 72, "btf_vmlinux_id": 76,
    },
}  # fmt: skip


@cases(**{f"{kind}_{name}": (kind, offset)
          for kind, fields in ECHOED.items() for name, offset in fields.items()})  # fmt: skip
def check_echo(calls: Calls, kind: str, offset: int) -> None:
    """A field that does not apply to the object keeps what the caller had there."""
    fd, _ = make(calls, kind)
    buffer = bytearray(SIZES[kind])
    buffer[offset] = 0x5A
    same(ask(calls, fd, bytes(buffer)).data[offset], 0x5A)


def check_echo_of_a_link(calls: Calls) -> None:
    """Of a link only the members of its kind are written; the rest of the union stays."""
    fd, _ = make(calls, "link")
    buffer = bytearray(64)
    buffer[40:] = b"\x5a" * 24
    same(ask(calls, fd, bytes(buffer)).data[40:], b"\x5a" * 24)


# --- programs


def check_program(calls: Calls) -> None:
    """A program tells its type, name, license and times."""
    fd = program(calls, type=P.XDP, name="hello", attach_type=0)
    told = calls.info(fd, ProgInfo)
    same((told.type, told.name, told.gpl_compatible & 1), (P.XDP, b"hello", 1))
    same((told.nr_map_ids, told.created_by_uid), (0, 0))
    same((told.run_time_ns, told.run_cnt, told.recursion_misses), (0, 0, 0))
    assert told.id
    assert told.load_time


def check_later_programs_load_later(calls: Calls) -> None:
    """load_time goes up from program to program."""
    first, second = (calls.info(program(calls), ProgInfo).load_time for _ in range(2))
    assert first < second


@cases(
    gpl=("GPL", 1), gpl_v2=("GPL v2", 1), rights=("GPL and additional rights", 1),
    bsd=("Dual BSD/GPL", 1), mit=("Dual MIT/GPL", 1), mpl=("Dual MPL/GPL", 1),
    small=("gpl", 0), together=("GPLv2", 0), none=("", 0), other=("Proprietary", 0),
    space=("GPL ", 0), long=("GPL" + "x" * 200, 0),
)  # fmt: skip
def check_license(calls: Calls, license: str, compatible: int) -> None:
    """Six spellings of the license are compatible with the GPL, letter by letter."""
    fd = program(calls, license=license)
    same(calls.info(fd, ProgInfo).gpl_compatible & 1, compatible)


def check_map_ids(calls: Calls) -> None:
    """A program's maps are told in the order in which its code first names them."""
    one, two, three = (map(calls) for _ in range(3))
    text = "r1 = map_fd b; r1 = map_fd a; r1 = map_fd b; r1 = map_fd c; r0 = 0; exit"
    fd = program(calls, text, a=one, b=two, c=three)
    told = calls.info(fd, ProgInfo)
    ids = calls.prog_array(fd, MAP_IDS, told)
    same(ids, u32(*(calls.info(each, MapInfo).id for each in (two, one, three))))


def check_map_ids_that_do_not_fit(calls: Calls) -> None:
    """An array that is too short gets what fits, and the count is the true one."""
    one, two = map(calls), map(calls)
    fd = program(calls, "r1 = map_fd a; r1 = map_fd b; r0 = 0; exit", a=one, b=two)
    mem = Memory()
    ids = bytearray(b"\xee" * 8)
    asked = ProgInfo(nr_map_ids=1, map_ids=mem.pin(ids))
    same(calls.fill_info(fd, asked, mem).nr_map_ids, 2)
    same(bytes(ids), u32(calls.info(one, MapInfo).id) + b"\xee" * 4)


def check_maps_of_an_fd_array(calls: Calls) -> None:
    """Maps in an fd_array with a length are bound, whether the code uses them or not."""
    one, two = map(calls), map(calls)
    fd = program(calls, maps=[two, one])
    told = calls.info(fd, ProgInfo)
    ids = [calls.info(each, MapInfo).id for each in (two, one)]
    same(calls.prog_array(fd, MAP_IDS, told), u32(*ids))


def check_bound_map(calls: Calls) -> None:
    """A map that is bound to a program is the last of its maps; once is enough."""
    used, bound = map(calls), map(calls)
    fd = program(calls, "r1 = map_fd m; r0 = 0; exit", m=used)
    for _ in range(2):
        calls.call(Cmd.PROG_BIND_MAP, ProgBindMap(prog_fd=fd, map_fd=bound))
    told = calls.info(fd, ProgInfo)
    ids = [calls.info(each, MapInfo).id for each in (used, bound)]
    same(calls.prog_array(fd, MAP_IDS, told), u32(*ids))


@cases(map_ids=("nr_map_ids", "map_ids"), xlated=("xlated_prog_len", "xlated_prog_insns"),
       tags=("nr_prog_tags", "prog_tags"))  # fmt: skip
def check_bad_side_buffer(calls: Calls, count: str, pointer: str) -> None:
    """A side buffer that cannot be written is EFAULT if there is something to write."""
    fd = program(calls, "r1 = map_fd m; r0 = 0; exit", m=map(calls))
    for address in (BAD, 0):
        asked = ProgInfo()
        setattr(asked, count, 8)
        setattr(asked, pointer, address)
        fails(errno.EFAULT, calls.fill_info, fd, asked, Memory())


def check_side_buffer_for_nothing(calls: Calls) -> None:
    """Where there is nothing to write, a bad pointer does no harm."""
    asked = ProgInfo(nr_map_ids=8, map_ids=BAD)
    same(calls.fill_info(program(calls), asked, Memory()).nr_map_ids, 0)


@cases(
    func=("func_info_rec_size", 8), line=("line_info_rec_size", 16),
    jited=("jited_line_info_rec_size", 8),
)  # fmt: skip
def check_record_size(calls: Calls, field: str, size: int) -> None:
    """Sizes of records are told; one that the caller gives must be right (EINVAL)."""
    fd = program(calls)
    same(getattr(calls.info(fd, ProgInfo), field), size)
    asked = ProgInfo()
    setattr(asked, field, size)
    same(getattr(calls.fill_info(fd, asked, Memory()), field), size)
    setattr(asked, field, size + 4)
    fails(errno.EINVAL, calls.fill_info, fd, asked, Memory())


@cases(func="nr_func_info", line="nr_line_info", jited="nr_jited_line_info")
def check_count_without_record_size(calls: Calls, field: str) -> None:
    """A count of records without their size is EINVAL."""
    asked = ProgInfo()
    setattr(asked, field, 1)
    fails(errno.EINVAL, calls.fill_info, program(calls), asked, Memory())


def check_counts_without_btf(calls: Calls) -> None:
    """A program without BTF has neither functions nor lines to tell."""
    told = calls.info(program(calls), ProgInfo)
    same((told.nr_func_info, told.nr_line_info, told.btf_id), (0, 0, 0))


# --- maps


def check_map(calls: Calls) -> None:
    """A map tells what it was made with."""
    fd = map(calls, T.HASH, key_size=5, value_size=7, max_entries=9, flags=F.NO_PREALLOC, name="m")
    told = calls.info(fd, MapInfo)
    same(
        (told.type, told.key_size, told.value_size, told.max_entries, told.map_flags, told.name),
        (T.HASH, 5, 7, 9, F.NO_PREALLOC, b"m"),
    )
    same((told.ifindex, told.netns_dev, told.btf_id, told.map_extra), (0, 0, 0, 0))


def hash_of(calls: Calls, fd: int, size: int = 32) -> bytes:
    mem = Memory()
    out = bytearray(max(size, 1))
    calls.fill_info(fd, MapInfo(hash=mem.pin(out), hash_size=size), mem)
    return bytes(out)


def check_hash_of_a_frozen_array(calls: Calls) -> None:
    """Of a frozen array the SHA-256 of its elements can be asked for, each padded to 8 bytes."""
    fd = map(calls, value_size=5, max_entries=3)
    for index in range(3):
        calls.map_update(fd, u32(index), bytes([index + 1] * 5))
    calls.map_freeze(fd)
    area = b"".join(bytes([index + 1] * 5) + bytes(3) for index in range(3))
    same(hash_of(calls, fd), hashlib.sha256(area).digest())


def check_hash_of_a_map(calls: Calls) -> None:
    """Only of an array (EINVAL), only when it is frozen (EPERM), only 32 bytes (EINVAL)."""
    fails(errno.EPERM, hash_of, calls, map(calls))
    fd = map(calls, T.HASH)
    calls.map_freeze(fd)
    fails(errno.EINVAL, hash_of, calls, fd)
    fd = map(calls)
    calls.map_freeze(fd)
    fails(errno.EINVAL, hash_of, calls, fd, 31)
    fails(errno.EINVAL, calls.fill_info, fd, MapInfo(hash_size=32), Memory())


# --- BTF


def check_btf(calls: Calls) -> None:
    """A BTF object tells its bytes and has no name."""
    data = types().data
    fd = btf(calls, data)
    told = calls.info(fd, BtfInfo)
    same((told.btf_size, told.kernel_btf, told.name_len), (len(data), 0, 0))
    same(read_btf(calls, fd), data)


def check_btf_cut(calls: Calls) -> None:
    """A buffer that is too short for the BTF gets what fits; the size is the true one."""
    data = types().data
    fd = btf(calls, data)
    mem = Memory()
    buffer = bytearray(b"\xee" * 20)
    told = calls.fill_info(fd, BtfInfo(btf=mem.pin(buffer), btf_size=10), mem)
    same((told.btf_size, bytes(buffer)), (len(data), data[:10] + b"\xee" * 10))


def check_kernel_btf(calls: Calls) -> None:
    """The BTF with id 1 is the kernel's, and named vmlinux."""
    fd = calls.fd_by_id(Cmd.BTF_GET_FD_BY_ID, 1)
    mem = Memory()
    name = bytearray(16)
    told = calls.fill_info(fd, BtfInfo(name=mem.pin(name), name_len=16), mem)
    same((told.id, told.kernel_btf, told.name_len), (1, 1, len("vmlinux")))
    same(bytes(name), b"vmlinux" + bytes(9))


def check_btf_name_cut(calls: Calls) -> None:
    """A name that does not fit is cut and ENOSPC, but the rest is told all the same."""
    fd = calls.fd_by_id(Cmd.BTF_GET_FD_BY_ID, 1)
    mem = Memory()
    name, buffer = bytearray(b"\xee" * 16), bytearray(32)
    buffer[:] = BtfInfo(name=mem.pin(name), name_len=4).encode()
    attr = ObjInfo(bpf_fd=fd, info_len=32, info=mem.pin(buffer))
    fails(errno.ENOSPC, calls.call, Cmd.OBJ_GET_INFO_BY_FD, attr, mem)
    same(bytes(name), b"vml\0" + b"\xee" * 12)
    same(BtfInfo.decode(buffer).id, 1)


@cases(pointer={"name": BAD}, length={"name_len": 4})
def check_btf_name_needs_both(calls: Calls, wrong: dict[str, int]) -> None:
    """A name's buffer without a length, or the other way round, is EINVAL."""
    fails(errno.EINVAL, calls.fill_info, btf(calls), BtfInfo(**wrong), Memory())


def check_btf_without_a_buffer(calls: Calls) -> None:
    """A size without a buffer is EFAULT."""
    fails(errno.EFAULT, calls.fill_info, btf(calls), BtfInfo(btf_size=8), Memory())


# --- what tells nothing


def check_link(calls: Calls) -> None:
    """A link tells its kind and its program."""
    prog = program(calls, type=P.RAW_TRACEPOINT)
    told = calls.info(calls.raw_tracepoint_open(prog, TRACEPOINT), LinkInfo)
    same((told.type, told.prog_id), (1, calls.info(prog, ProgInfo).id))


def check_stats_tell_nothing(calls: Calls) -> None:
    """The fd that keeps statistics on has no information (EINVAL)."""
    fails(errno.EINVAL, ask, calls, calls.enable_stats(), bytes(64))


def check_files_in_fdinfo(bench: Bench) -> None:
    """fdinfo tells ids, which needs no right but that to look at the process."""
    calls = bench.calls
    for kind in SIZES:
        fd, id = make(calls, kind)
        same(bench.fdinfo(fd)[f"{kind}_id"], str(id))


def check_map_in_fdinfo(bench: Bench) -> None:
    """fdinfo of a map tells what it was made with."""
    fd = map(bench.calls, T.HASH, value_size=16, max_entries=7)
    told = bench.fdinfo(fd)
    words = ("map_type", "key_size", "value_size", "max_entries", "map_flags", "map_extra")
    same([told[word] for word in words], ["1", "4", "16", "7", "0x0", "0x0"])
    same(told["frozen"], "0")


def check_program_in_fdinfo(bench: Bench) -> None:
    """fdinfo of a program tells type, tag and counters."""
    fd = program(bench.calls)
    told = bench.fdinfo(fd)
    same(told["prog_type"], "1")
    same(told["prog_tag"], bench.calls.info(fd, ProgInfo).tag.hex())
    same((told["run_time_ns"], told["run_cnt"], told["recursion_misses"]), ("0", "0", "0"))
    same(told["verified_insns"], "2")
    same(u64(int(told["memlock"])), u64(4096))
