"""BTF_LOAD: what is BTF to the kernel and what is not."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

from bpflens.abi.attrs import BtfLoad
from bpflens.abi.enums import Cmd
from bpflens.abi.infos import BtfInfo
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import Bench
from bpflens.testing.builders import btf, read_btf, types
from bpflens.testing.conformance.suite import BAD, cases, fails, same

Make = Callable[[BtfBuilder], object]


def built(make: Make) -> bytes:
    """BTF with `int` as type 1 and what `make` adds from 2 on."""
    builder = BtfBuilder()
    builder.add_int("int", 4, Int.SIGNED)
    make(builder)
    return builder.build()


GOOD: dict[str, Make] = {
    "int": lambda b: b.add_int("long", 8),
    "int_of_3_bytes": lambda b: b.add_int("i", 3),
    "int_of_0_bytes": lambda b: b.add_int("i", 0),
    "int_without_name": lambda b: b.add_int("", 4),
    "char": lambda b: b.add_int("char", 1, Int.CHAR),
    "bool": lambda b: b.add_int("_Bool", 1, Int.BOOL),
    "128_bits": lambda b: b.add_int("__int128", 16),
    "pointer": lambda b: b.add_ptr(1),
    "void_pointer": lambda b: b.add_ptr(0),
    "array": lambda b: b.add_array(1, 4, 1),
    "empty_array": lambda b: b.add_array(1, 0, 1),
    "struct": lambda b: b.add_struct("s", 8, [("a", 1, 0), ("b", 1, 32)]),
    "empty_struct": lambda b: b.add_struct("s", 0),
    "anonymous_struct": lambda b: b.add_struct("", 4, [("a", 1, 0)]),
    "bit_field": lambda b: b.add_struct("s", 4, [("a", 1, 0, 3), ("b", 1, 3, 5)]),
    "union": lambda b: b.add_union("u", 4, [("a", 1, 0), ("b", 1, 0)]),
    "list": lambda b: (b.add_struct("s", 8, [("next", 3, 0)]), b.add_ptr(2)),
    "enum": lambda b: b.add_enum("e", [("A", 0), ("B", 5)]),
    "enum64": lambda b: b.add_enum64("e", [("A", 1 << 40)]),
    "forward": lambda b: b.add_fwd("s"),
    "typedef": lambda b: b.add_typedef("t", 1),
    "qualified": lambda b: (b.add_const(1), b.add_volatile(2), b.add_ptr(3), b.add_restrict(4)),
    "float": lambda b: b.add_float("double", 8),
    "function": lambda b: (b.add_func_proto(1, [("a", 1)]), b.add_func("f", 2)),
    "variadic": lambda b: b.add_func_proto(0, [("a", 1), ("", 0)]),
    "variable": lambda b: b.add_var("v", 1),
    "section": lambda b: (b.add_var("v", 1), b.add_datasec(".data", 4, [(2, 0, 4)])),
    "declaration_tag": lambda b: b.add_decl_tag("tag", b.add_struct("s", 4, [("a", 1, 0)])),
    "member_tag": lambda b: b.add_decl_tag("tag", b.add_struct("s", 4, [("a", 1, 0)]), 0),
    "type_tag": lambda b: b.add_ptr(b.add_type_tag("user", 1)),
    "bits_of_a_small_enum": lambda b: (
        b.add_enum64("e", [("A", 1)], size=1),
        b.add_struct("s", 4, [("a", 2, 0, 32)]),
    ),
    "struct_behind_itself": lambda b: (b.add_struct("s", 8, [("a", 3, 0)]), b.add_ptr(2)),
    "name_with_dots": lambda b: b.add_struct(".a.b", 4, [(".", 1, 0)]),
    "section_with_digit": lambda b: b.add_datasec("1a", 4, [(b.add_var(".v", 1), 0, 4)]),
    "section_with_signs": lambda b: b.add_datasec("?a b-\xff", 4, [(b.add_var("v", 1), 0, 4)]),
}


@cases(**GOOD)
def check_good(calls: Calls, make: Make) -> None:
    """Types of every kind load, and come back byte by byte."""
    data = built(make)
    same(read_btf(calls, btf(calls, data)), data)


BAD_TYPES: dict[str, Make] = {
    "int_with_more_bits": lambda b: b.add_int("i", 4, bits=64),
    "int_at_offset": lambda b: b.add_int("i", 4, offset=8),
    "pointer_to_nothing": lambda b: b.add_ptr(99),
    "array_of_void": lambda b: b.add_array(0, 1, 1),
    "array_without_index": lambda b: b.add_array(1, 1, 0),
    "array_too_large": lambda b: b.add_array(1, 0x7FFFFFFF, 1),
    "member_outside": lambda b: b.add_struct("s", 4, [("a", 1, 32)]),
    "member_of_void": lambda b: b.add_struct("s", 4, [("a", 0, 0)]),
    "member_of_function": lambda b: b.add_struct("s", 4, [("a", b.add_func_proto(0), 0)]),
    "members_unordered": lambda b: b.add_struct("s", 8, [("a", 1, 32), ("b", 1, 0)]),
    "union_member_moved": lambda b: b.add_union("u", 8, [("a", 1, 32)]),
    "enum_of_3_bytes": lambda b: b.add_enum("e", [("A", 0)], size=3),
    "enum_value_without_name": lambda b: b.add_enum("e", [("", 0)]),
    "forward_without_name": lambda b: b.add_fwd(""),
    "typedef_without_name": lambda b: b.add_typedef("", 1),
    "float_of_3_bytes": lambda b: b.add_float("f", 3),
    "function_of_int": lambda b: b.add_func("f", 1),
    "function_without_name": lambda b: b.add_func("", b.add_func_proto(0)),
    "function_linkage": lambda b: b.add_func("f", b.add_func_proto(0), 3),
    "parameter_of_void": lambda b: b.add_func_proto(0, [("a", 0)]),
    "name_with_dash": lambda b: b.add_typedef("a-b", 1),
    "name_with_digit": lambda b: b.add_typedef("1a", 1),
    "variable_of_void": lambda b: b.add_var("v", 0),
    "variable_linkage": lambda b: b.add_var("v", 1, 3),
    "variable_of_variable": lambda b: b.add_var("v", b.add_var("w", 1)),
    "parameter_of_qualified_nothing": lambda b: (
        b.add_const(0),
        b.add_func_proto(0, [("p", 2)]),
    ),
    "tag_behind_qualifier": lambda b: (b.add_type_tag("user", 1), b.add_const(2)),
    "bit_field_of_odd_int": lambda b: (
        b.add_int("i", 4, bits=7),
        b.add_struct("s", 4, [("a", 2, 0, 3)]),
    ),
    "section_with_empty_variable": lambda b: b.add_datasec("s", 4, [(b.add_var("v", 1), 0, 0)]),
    "section_with_cut_variable": lambda b: b.add_datasec("s", 4, [(b.add_var("v", 1), 0, 2)]),
    "name_with_sign": lambda b: b.add_fwd("a?"),
    "section_with_control": lambda b: b.add_datasec("a\x01", 4, [(b.add_var("v", 1), 0, 4)]),
    "section_without_name": lambda b: b.add_datasec("", 4, [(b.add_var("v", 1), 0, 4)]),
    "section_of_int": lambda b: b.add_datasec(".data", 4, [(1, 0, 4)]),
    "section_overlap": lambda b: b.add_datasec(
        ".data", 8, [(b.add_var("v", 1), 0, 4), (b.add_var("w", 1), 2, 4)]
    ),
    "section_too_small": lambda b: b.add_datasec(".data", 2, [(b.add_var("v", 1), 0, 4)]),
    "tag_of_nothing": lambda b: b.add_decl_tag("tag", 0),
    "tag_of_no_member": lambda b: b.add_decl_tag("tag", b.add_struct("s", 4, [("a", 1, 0)]), 1),
    "tag_without_text": lambda b: b.add_decl_tag("", b.add_struct("s", 4, [("a", 1, 0)])),
}


@cases(**BAD_TYPES)
def check_bad_type(calls: Calls, make: Make) -> None:
    """A type that makes no sense is EINVAL."""
    fails(errno.EINVAL, btf, calls, built(make))


CIRCLES: dict[str, Make] = {
    "array_of_itself": lambda b: b.add_array(2, 1, 1),
    "struct_in_itself": lambda b: b.add_struct("s", 4, [("a", 2, 0)]),
    "typedef_of_itself": lambda b: b.add_typedef("t", 2),
    "typedef_circle": lambda b: (b.add_typedef("t", 3), b.add_typedef("u", 2)),
    "member_of_a_const_of_itself": lambda b: (
        b.add_struct("s", 4, [("a", 3, 0)]),
        b.add_const(3),
    ),
    "const_of_itself": lambda b: b.add_const(2),
}


@cases(**CIRCLES)
def check_circle(calls: Calls, make: Make) -> None:
    """A type that ends in itself is EEXIST: env_stack_push() has seen it already."""
    fails(errno.EEXIST, btf, calls, built(make))


def check_two_encodings(calls: Calls) -> None:
    """An integer is signed, a character or a truth value, but not two of these (ENOTSUPP)."""
    fails(ENOTSUPP, btf, calls, built(lambda b: b.add_int("i", 1, Int.SIGNED | Int.BOOL)))


def _changed(at: int, layout: str, value: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        struct.pack_into(layout, changed, at, value)
        return bytes(changed)

    return change


HEADERS: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "magic": (_changed(0, "<H", 0xEB9E), errno.EINVAL),
    "other_byte_order": (_changed(0, ">H", 0xEB9F), errno.EINVAL),
    "version_0": (_changed(2, "B", 0), ENOTSUPP),
    "version_2": (_changed(2, "B", 2), ENOTSUPP),
    "flags": (_changed(3, "B", 1), ENOTSUPP),
    "short_header": (_changed(4, "<I", 20), errno.EINVAL),
    "header_past_the_end": (_changed(4, "<I", 1 << 20), errno.EINVAL),
    "header_longer": (_changed(4, "<I", 28), errno.E2BIG),
    "types_elsewhere": (_changed(8, "<I", 4), errno.EINVAL),
    "types_unaligned": (_changed(8, "<I", 2), errno.EINVAL),
    "no_types": (_changed(12, "<I", 0), errno.EINVAL),
    "types_too_long": (_changed(12, "<I", 1 << 20), errno.EINVAL),
    "strings_elsewhere": (_changed(16, "<I", 0), errno.EINVAL),
    "strings_too_short": (_changed(20, "<I", 4), errno.EINVAL),
    "strings_too_long": (_changed(20, "<I", 1 << 20), errno.EINVAL),
    "empty": (lambda data: b"", errno.EINVAL),
    "cut": (lambda data: data[:20], errno.EINVAL),
    "more_behind": (lambda data: data + b"\0", errno.EINVAL),
    "last_byte_missing": (lambda data: data[:-1], errno.EINVAL),
    "not_ended_by_nul": (lambda data: data[:-1] + b"x", errno.EINVAL),
    "kind_0": (_changed(24 + 4, "<I", 0), errno.EINVAL),
    "kind_31": (_changed(24 + 4, "<I", 31 << 24), errno.EINVAL),
    "reserved_info_bits": (_changed(24 + 4, "<I", 1 << 24 | 1 << 20), errno.EINVAL),
    "name_outside": (_changed(24, "<I", 1 << 20), errno.EINVAL),
}


@cases(**HEADERS)
def check_header(calls: Calls, change: Callable[[bytes], bytes], code: int) -> None:
    """Bytes that are no BTF, or one that the kernel does not know."""
    fails(code, btf, calls, change(types().data))


def check_nothing(calls: Calls) -> None:
    """BTF without any type is EINVAL."""
    fails(errno.EINVAL, btf, calls, BtfBuilder().build())


@cases(bytes={"btf": BAD}, size={"btf_size": (16 << 20) + 1}, flags={"btf_flags": 1})
def check_arguments(calls: Calls, wrong: dict[str, int]) -> None:
    """Unreadable bytes are EFAULT, more than 16 MiB E2BIG, flags EINVAL."""
    mem = Memory()
    data = types().data
    attr = BtfLoad(btf=mem.pin(bytearray(data)), btf_size=len(data))
    for name, value in wrong.items():
        setattr(attr, name, value)
    code = {"btf": errno.EFAULT, "btf_size": errno.E2BIG, "btf_flags": errno.EINVAL}[
        next(iter(wrong))
    ]
    fails(code, calls.call, Cmd.BTF_LOAD, attr, mem)


def logged(size: int, level: int = 1) -> tuple[BtfLoad, Memory, bytearray]:
    mem = Memory()
    data, buffer = types().data, bytearray(size)
    attr = BtfLoad(btf=mem.pin(bytearray(data)), btf_size=len(data), btf_log_level=level)
    attr.btf_log_buf, attr.btf_log_size = mem.pin(buffer), size
    return attr, mem, buffer


def check_log(calls: Calls) -> None:
    """The log lists what was read, and its length with the NUL is told."""
    attr, mem, buffer = logged(4096)
    calls.call(Cmd.BTF_LOAD, attr, mem)
    text = buffer.partition(b"\0")[0]
    assert b"[1] INT int size=4" in text, text
    same(attr.btf_log_true_size, len(text) + 1)


def check_log_that_does_not_fit(calls: Calls) -> None:
    """A log that does not fit is ENOSPC, and no object is made."""
    attr, mem, _ = logged(16)
    fails(errno.ENOSPC, calls.call, Cmd.BTF_LOAD, attr, mem)
    assert attr.btf_log_true_size > 16


@cases(no_level={"btf_log_level": 0}, no_size={"btf_log_size": 0}, no_buffer={"btf_log_buf": 0})
def check_log_arguments(calls: Calls, wrong: dict[str, int]) -> None:
    """Level, buffer and size of the log must fit each other (EINVAL)."""
    attr, mem, _ = logged(4096)
    for name, value in wrong.items():
        setattr(attr, name, value)
    fails(errno.EINVAL, calls.call, Cmd.BTF_LOAD, attr, mem)


def check_same_bytes_twice(calls: Calls) -> None:
    """The same BTF loaded twice is two objects."""
    ids = [calls.info(btf(calls), BtfInfo).id for _ in range(2)]
    assert ids[0] != ids[1]


def check_kernel_btf_is_first(bench: Bench) -> None:
    """The smallest BTF id is 1, and it is the kernel's own."""
    same(bench.calls.next_id(Cmd.BTF_GET_NEXT_ID, 0), 1)
    fd = bench.calls.fd_by_id(Cmd.BTF_GET_FD_BY_ID, 1)
    same(bench.calls.info(fd, BtfInfo).kernel_btf, 1)
