"""Which fields of a value the kernel keeps to itself."""

from __future__ import annotations

from bpflens.btf import Btf
from bpflens.btf.build import BtfBuilder
from bpflens.btf.specialfields import SpecialField, special_fields


def test_lists_and_pointers_of_the_kernel_are_found_wherever_they_are() -> None:
    made = BtfBuilder()
    number = made.add_int("int", 4)
    u64 = made.add_int("unsigned long long", 8)
    head = made.add_struct("bpf_list_head", 16, [("opaque", made.add_array(u64, 2), 0)])
    lock = made.add_struct("bpf_spin_lock", 4, [("val", number, 0)])
    inner = made.add_struct("inner", 24, [("n", u64, 0), ("head", head, 64)])
    made.add_decl_tag("contains:inner:n", inner, 1)
    kptr, uptr = (made.add_ptr(made.add_type_tag(tag, inner)) for tag in ("kptr", "uptr"))
    members = [("two", made.add_array(inner, 2), 0), ("mine", uptr, 384), ("theirs", kptr, 448)]
    without_lock = made.add_struct("without_lock", 64, members)
    whole = made.add_struct("whole", 72, [*members, ("lock", lock, 512)])
    btf = Btf.parse(made.build())
    assert special_fields(btf, whole) == [
        SpecialField("two[0].head", "bpf_list_head", 8, 16),
        SpecialField("two[1].head", "bpf_list_head", 32, 16),
        SpecialField("theirs", "kptr", 56, 8),
        SpecialField("lock", "bpf_spin_lock", 64, 4),
    ]
    assert special_fields(btf, without_lock) == []
    assert special_fields(btf, u64) == []


def test_a_value_that_the_kernel_does_not_parse_has_none() -> None:
    made = BtfBuilder()
    opaque = made.add_array(made.add_int("unsigned long long", 8), 2)
    timer = made.add_struct("bpf_timer", 16, [("opaque", opaque, 0)])
    inner = made.add_struct("inner", 16, [("timer", timer, 0)])
    one, two = (
        made.add_struct("whole", 16 * n, [("t", made.add_array(inner, n), 0)]) for n in (1, 2)
    )
    bits = made.add_struct("bits", 8, [("low", made.add_int("int", 4), 3, 5)])
    with_bits = made.add_struct("whole", 24, [("bits", bits, 0), ("timer", timer, 64)])
    declared = made.add_ptr(made.add_type_tag("kptr", made.add_fwd("task_struct")))
    with_declared = made.add_struct("whole", 24, [("task", declared, 0), ("timer", timer, 64)])
    btf = Btf.parse(made.build())
    assert special_fields(btf, with_bits) == []
    assert special_fields(btf, with_declared) == []
    assert special_fields(btf, one) == [SpecialField("t[0].timer", "bpf_timer", 0, 16)]
    assert special_fields(btf, two) == []


def test_a_type_that_holds_another_many_times_over_is_walked_once() -> None:
    made = BtfBuilder()
    inner = made.add_struct("plain", 8, [("n", made.add_int("unsigned long long", 8), 0)])
    for level in range(40):  # 20 members of each of the level below: 20 ** 40 of them
        inner = made.add_struct(f"level{level}", 8, [(f"m{n}", inner, 0) for n in range(20)])
    btf = Btf.parse(made.build())
    assert special_fields(btf, inner) == []  # deeper than anything that the kernel takes
    assert special_fields(btf, inner - 10) == []
