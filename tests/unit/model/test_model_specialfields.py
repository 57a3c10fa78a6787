"""Which fields of a value the kernel keeps to itself."""

from __future__ import annotations

from bpflens.btf import Btf
from bpflens.btf.build import BtfBuilder
from bpflens.model.specialfields import SpecialField, special_fields


def test_lists_and_pointers_of_the_kernel_are_found_wherever_they_are() -> None:
    made = BtfBuilder()
    u64 = made.add_int("unsigned long long", 8)
    head = made.add_struct("bpf_list_head", 16, [("opaque", made.add_array(u64, 2), 0)])
    inner = made.add_struct("inner", 24, [("n", u64, 0), ("head", head, 64)])
    kptr, uptr = (made.add_ptr(made.add_type_tag(tag, inner)) for tag in ("kptr", "uptr"))
    members = [("two", made.add_array(inner, 2), 0), ("mine", uptr, 384), ("theirs", kptr, 448)]
    whole = made.add_struct("whole", 64, members)
    assert special_fields(Btf.parse(made.build()), whole) == [
        SpecialField("two[0].head", "bpf_list_head", 8, 16),
        SpecialField("two[1].head", "bpf_list_head", 32, 16),
        SpecialField("theirs", "kptr", 56, 8),
    ]
    assert special_fields(Btf.parse(made.build()), u64) == []


def test_a_value_that_the_kernel_does_not_parse_has_none() -> None:
    made = BtfBuilder()
    timer = made.add_struct("bpf_timer", 8, [("opaque", made.add_int("unsigned long", 8), 0)])
    inner = made.add_struct("inner", 8, [("timer", timer, 0)])
    one, two = (
        made.add_struct("whole", 8 * n, [("t", made.add_array(inner, n), 0)]) for n in (1, 2)
    )
    bits = made.add_struct("bits", 8, [("low", made.add_int("int", 4), 3, 5)])
    with_bits = made.add_struct("whole", 16, [("bits", bits, 0), ("timer", timer, 64)])
    declared = made.add_ptr(made.add_type_tag("kptr", made.add_fwd("task_struct")))
    with_declared = made.add_struct("whole", 16, [("task", declared, 0), ("timer", timer, 64)])
    btf = Btf.parse(made.build())
    assert special_fields(btf, with_bits) == []
    assert special_fields(btf, with_declared) == []
    assert special_fields(btf, one) == [SpecialField("t[0].timer", "bpf_timer", 0, 8)]
    assert special_fields(btf, two) == []


def test_a_type_that_holds_itself_many_times_over_is_walked_once() -> None:
    made = BtfBuilder()
    u64 = made.add_int("unsigned long long", 8)
    inner = made.add_struct("bpf_list_head", 8, [("opaque", u64, 0)])
    for level in range(40):  # 20 members of each of the level below: 20 ** 40 of them
        members = [(f"m{n}", inner, 0) for n in range(20)]
        inner = made.add_struct(f"level{level}", 8, members)
    btf = Btf.parse(made.build())
    assert special_fields(btf, inner) == []  # deeper than anything that the kernel takes
    assert len(special_fields(btf, inner - 10)) == 1024
