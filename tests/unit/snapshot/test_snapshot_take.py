"""Records of one look: values, or the reason for each that is missing."""

from __future__ import annotations

import errno
import re

import pytest

from bpflens.abi.enums import Cmd, MapFlag, MapType
from bpflens.abi.infos import MapInfo, ProgInfo
from bpflens.errors import Denied
from bpflens.model.parts import Part
from bpflens.port.memory import Memory
from bpflens.snapshot.records import MapRecord, ProgramRecord
from bpflens.snapshot.take import LIST_PARTS, MAP_PARTS, PROGRAM_PARTS, STATS_SYSCTL, Look, take
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import prog, table, u32, u64

NONE = {
    "attach_btf_obj_id", "attach_btf_id", "ifindex", "btf_id", "btf_key_type_id",
    "btf_value_type_id", "btf_vmlinux_value_type_id", "owner_prog_type",
}  # fmt: skip
"""Fields of which the kernel's 0 means that the object has none."""


def program_of(kernel: Kernel, parts: Part = LIST_PARTS) -> ProgramRecord:
    return next(iter(Look(kernel.system(), parts).programs()))


def map_of(kernel: Kernel, parts: Part = LIST_PARTS) -> MapRecord:
    return next(iter(Look(kernel.system(), parts).maps()))


def test_a_reason_stands_only_where_there_is_no_value() -> None:
    old = prog(1, told=ProgInfo.__layout__["name"].end)
    old.hidden = {"xlated_prog_insns"}
    for kernel in (Kernel(prog(1), table(5)), Kernel(old, table(5))):
        for parts in (Part(0), Part.BASIC, Part.MAPS, LIST_PARTS, ~Part(0)):
            for record in (program_of(kernel, parts), map_of(kernel, parts)):
                nulls = {name for name, value in record._asdict().items() if value is None}
                assert set(record.missing) <= nulls, parts


def test_all_that_was_asked_for_is_a_value_or_has_a_reason_or_is_known_to_be_none() -> None:
    kernel = Kernel(prog(1), table(5))
    for record in (program_of(kernel, ~Part(0)), map_of(kernel, ~Part(0))):
        nulls = {name for name, value in record._asdict().items() if value is None}
        assert nulls - set(record.missing) <= NONE


def test_a_program_is_told_as_the_kernel_tells_it() -> None:
    found = prog(7, b"xdp_lb", map_ids=u32(5, 6), jited_prog_insns=bytes(40))
    found.info.type = 6
    found.info.load_time = 90 * 10**9 + 999
    found.info.created_by_uid = 1000
    found.info.verified_insns = 12
    found.info.run_cnt, found.info.run_time_ns = 3, 1 << 60
    record = program_of(Kernel(found))
    assert record[:6] == (7, "xdp", "xdp_lb", "xdp_lb", "07" * 8, True)
    assert (record.created_by_uid, record.verified_insns) == (1000, 12)
    assert (record.xlated_bytes, record.jited_bytes, record.memlock_bytes) == (16, 40, 4096)
    assert (record.run_cnt, record.run_time_ns, record.recursion_misses) == (3, 1 << 60, 0)
    assert record.map_ids == [5, 6]
    assert record.pinned == []


def test_times_are_those_of_rfc_3339_in_utc() -> None:
    found = prog(1)
    found.info.load_time = 90 * 10**9 + 999
    # the scripted machine booted at 1,700,000,000
    assert program_of(Kernel(found)).loaded_at == "2023-11-14T22:14:50Z"
    shot = take(Kernel(found).system())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shot.taken_at)


def test_two_looks_give_a_program_the_same_time() -> None:
    kernel = Kernel(prog(1))
    assert program_of(kernel).loaded_at == program_of(kernel).loaded_at


def test_fields_that_an_old_kernel_does_not_tell_are_unsupported_and_not_zero() -> None:
    kernel = Kernel(prog(1, told=ProgInfo.__layout__["nr_map_ids"].end))
    record = program_of(kernel, ~Part(0))
    for name in ("btf_id", "run_cnt", "run_time_ns", "recursion_misses", "verified_insns",
                 "gpl_compatible", "ifindex", "func_info", "jited_ksyms"):  # fmt: skip
        assert getattr(record, name) is None
        assert record.missing[name].startswith("unsupported"), name
    assert record.created_by_uid == 0


@pytest.mark.parametrize("field", ["verified_insns", "recursion_misses", "run_cnt"])
def test_a_field_is_told_from_the_byte_on_that_ends_it(field: str) -> None:
    end = ProgInfo.__layout__[field].end
    for told, known in ((end, True), (end - 1, False)):
        kernel = Kernel(prog(1, told=told))
        kernel.host.files[STATS_SYSCTL] = b"1\n"
        record = program_of(kernel)
        assert (getattr(record, field) == 0) is known
        assert (field in record.missing) is not known


def test_an_old_kernel_does_not_tell_what_is_newer_of_a_map() -> None:
    found = table(5)
    found.told = MapInfo.__layout__["name"].end
    record = map_of(Kernel(found))
    for name in ("btf_id", "map_extra", "ifindex", "btf_key_type_id"):
        assert getattr(record, name) is None
        assert record.missing[name].startswith("unsupported")


def test_what_the_object_does_not_have_is_null_without_a_reason() -> None:
    for record in (program_of(Kernel(prog(1))), map_of(Kernel(table(5)))):
        for name in NONE & set(record._fields):
            assert getattr(record, name) is None
            assert name not in record.missing


def test_counters_that_stand_still_are_off_and_not_zero() -> None:
    kernel = Kernel(prog(1))
    for content in (b"0\n", errno.EACCES, errno.ENOENT):
        kernel.host.files[STATS_SYSCTL] = content
        record = program_of(kernel)
        assert (record.run_cnt, record.run_time_ns) == (None, None)
        assert record.missing["run_cnt"].startswith("off: ")


def test_counters_that_run_are_zero_when_they_are_zero() -> None:
    kernel = Kernel(prog(1))
    kernel.host.files[STATS_SYSCTL] = b"1\n"
    record = program_of(kernel)
    assert (record.run_cnt, record.run_time_ns) == (0, 0)
    assert "run_cnt" not in record.missing


def test_a_program_that_ran_was_counted_whatever_the_sysctl_says_now() -> None:
    found = prog(1)
    found.info.run_cnt = 4
    record = program_of(Kernel(found))
    assert (record.run_cnt, record.run_time_ns) == (4, 0)


def test_sizes_that_are_hidden_are_restricted_and_not_zero() -> None:
    found = prog(1)
    found.arrays.clear()  # without CAP_BPF the kernel tells no lengths
    record = program_of(Kernel(found))
    assert (record.xlated_bytes, record.jited_bytes) == (None, None)
    assert record.missing["xlated_bytes"].startswith("restricted: ")


def test_a_program_that_is_interpreted_has_no_machine_code_and_says_zero() -> None:
    record = program_of(Kernel(prog(1)))
    assert (record.xlated_bytes, record.jited_bytes) == (16, 0)


def test_code_is_told_in_hex_where_it_is_asked_for() -> None:
    found = prog(1, jited_prog_insns=b"\xc3", jited_ksyms=u64(1 << 63), prog_tags=b"\xab" * 8)
    record = program_of(Kernel(found), ~Part(0))
    assert (record.xlated, record.jited) == ("00" * 16, "c3")
    assert (record.jited_ksyms, record.prog_tags) == ([1 << 63], ["ab" * 8])
    assert record.func_info == ""


def test_code_that_is_hidden_says_what_would_show_it() -> None:
    found = prog(1)
    found.hidden = {"xlated_prog_insns"}
    record = program_of(Kernel(found), Part.INSNS)
    assert record.xlated is None
    assert record.missing["xlated"].startswith("restricted: ")
    assert "CAP_SYSLOG" in record.missing["xlated"]


@pytest.mark.parametrize("field", [*PROGRAM_PARTS])
def test_a_field_is_read_with_its_part_and_not_without(field: str) -> None:
    kernel = Kernel(prog(1))
    assert getattr(program_of(kernel, ~PROGRAM_PARTS[field]), field) is None
    assert getattr(program_of(kernel, PROGRAM_PARTS[field]), field) is not None


@pytest.mark.parametrize("field", [*MAP_PARTS])
def test_a_field_of_a_map_is_read_with_its_part_and_not_without(field: str) -> None:
    found = table(5, MapType.PROG_ARRAY)
    found.fdinfo = b"memlock:\t4096\nfrozen:\t1\nowner_prog_type:\t6\n"
    assert getattr(map_of(Kernel(found), ~MAP_PARTS[field]), field) is None
    assert getattr(map_of(Kernel(found), MAP_PARTS[field]), field) is not None


def test_flags_and_types_are_words_also_from_a_newer_kernel() -> None:
    found = table(5, MapType(77))
    found.info.map_flags = MapFlag.MMAPABLE | 1 << 30
    record = map_of(Kernel(found))
    assert (record.type, record.flags) == ("unknown_77", ["mmapable", "0x40000000"])


def test_the_owner_of_a_prog_array_is_a_type_by_name() -> None:
    found = table(5, MapType.PROG_ARRAY)
    found.fdinfo = b"owner_prog_type:\t6\n"
    record = map_of(Kernel(found))
    assert record.owner_prog_type == "xdp"
    assert record.missing["frozen"].startswith("unsupported")


def test_pins_are_told_of_each_object_and_read_once() -> None:
    kernel = Kernel(prog(1), prog(2), table(1))
    kernel.host.pins = {"/sys/fs/bpf/a": kernel.objects[0], "/sys/fs/bpf/b": kernel.objects[2]}
    shot = take(kernel.system())
    assert [p.pinned for p in shot.programs] == [["/sys/fs/bpf/a"], []]
    assert [m.pinned for m in shot.maps] == [["/sys/fs/bpf/b"]]
    assert kernel.counts()["OBJ_GET"] == 2


def test_one_object_that_cannot_be_opened_does_not_end_the_list() -> None:
    kernel = Kernel(prog(1), prog(2), prog(3), table(5), table(6))
    kernel.closed_objects = {2: errno.EPERM, 5: errno.EMFILE}
    shot = take(kernel.system())
    assert [p.id for p in shot.programs] == [1, 3]
    assert [m.id for m in shot.maps] == [6]
    assert [(e.kind, e.id) for e in shot.errors] == [("program", 2), ("map", 5)]
    assert "Operation not permitted" in shot.errors[0].error
    assert not shot.complete
    assert kernel.fds == {}


def test_an_object_that_goes_between_walk_and_open_is_no_error() -> None:
    kernel = Kernel(prog(1), prog(2))

    def unload(cmd: Cmd) -> None:
        if cmd is Cmd.PROG_GET_FD_BY_ID:
            kernel.objects = [o for o in kernel.objects if o.id != 2]

    kernel.before = unload
    shot = take(kernel.system())
    assert [p.id for p in shot.programs] == [1]
    assert shot.complete


def test_one_info_that_fails_does_not_end_the_list() -> None:
    kernel = Kernel(prog(1), prog(2))
    first = kernel.objects[0]

    def broken(given: bytes, mem: Memory) -> ProgInfo:
        raise OSError(errno.EIO, "broken")

    first.tell = broken  # type: ignore[method-assign]
    shot = take(kernel.system())
    assert [p.id for p in shot.programs] == [2]
    assert [e.kind for e in shot.errors] == ["program"]
    assert kernel.fds == {}


def test_where_nothing_may_be_seen_the_look_says_so() -> None:
    kernel = Kernel(prog(1))
    kernel.refused[Cmd.PROG_GET_NEXT_ID] = errno.EPERM
    with pytest.raises(Denied, match="programs cannot be listed"):
        take(kernel.system())


def test_a_list_costs_no_more_calls_than_it_needs() -> None:
    kernel = Kernel(*[prog(n, map_ids=u32(5)) for n in range(1, 51)], table(5))
    take(kernel.system())
    assert kernel.counts() == {
        "PROG_GET_NEXT_ID": 51, "PROG_GET_FD_BY_ID": 50, "OBJ_GET_INFO_BY_FD": 101,
        "MAP_GET_NEXT_ID": 2, "MAP_GET_FD_BY_ID": 1,
    }  # fmt: skip
    assert kernel.fds == {}


def test_a_look_that_is_left_early_leaves_no_fd_open() -> None:
    kernel = Kernel(prog(1), prog(2))
    records = Look(kernel.system()).programs()
    next(iter(records))
    del records
    assert kernel.fds == {}


def test_a_snapshot_names_its_schema_and_its_kernel() -> None:
    shot = take(Kernel().system())
    assert (shot.schema, shot.kernel) == ("bpflens/1", "6.18.0-scripted")
    assert (shot.programs, shot.maps, shot.errors, shot.complete) == ([], [], [], True)
