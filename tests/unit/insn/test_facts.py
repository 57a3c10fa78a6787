"""What is read from instructions, and on which of them it rests."""

from __future__ import annotations

import pytest

from bpflens.insn import Insn
from bpflens.insn import effects as e
from bpflens.insn.asm import assemble_insns
from bpflens.insn.calls import Call
from bpflens.insn.facts import Effect, MapRef, Return, Stack, facts
from bpflens.insn.helpers import HELPER_IDS

LOOKUP = """
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = map_fd 5
    call map_lookup_elem
    if r0 == 0 goto out
"""


def uses(text: str, *, xlated: bool = False) -> list[tuple[int, int, str]]:
    found = facts(assemble_insns(text), xlated=xlated)
    return [(use.at, use.map.number, use.use) for use in found.maps]


def test_a_map_is_looked_up_read_and_written() -> None:
    text = LOOKUP + "r1 = *(u64 *)(r0 +0)\n*(u64 *)(r0 +8) = r1\nout: r0 = 0\nexit"
    assert uses(text) == [(5, 5, e.LOOKUP), (7, 5, e.READ), (8, 5, e.WRITE)]
    assert {use.loaded for use in facts(assemble_insns(text)).maps} == {3}


def test_an_address_survives_the_stack_and_other_registers() -> None:
    text = (
        LOOKUP
        + """
        *(u64 *)(r10 -16) = r0
        call ktime_get_ns
        r7 = *(u64 *)(r10 -16)
        r7 += 8
        lock *(u64 *)(r7 +0) += r0
        out: exit
    """
    )
    assert uses(text) == [(5, 5, e.LOOKUP), (11, 5, e.WRITE)]


def test_an_overwritten_address_is_forgotten() -> None:
    text = LOOKUP + "*(u64 *)(r10 -16) = r0\n*(u8 *)(r10 -12) = 1\nr7 = *(u64 *)(r10 -16)\n"
    assert uses(text + "*(u64 *)(r7 +0) = 1\nout: exit") == [(5, 5, e.LOOKUP)]


@pytest.mark.parametrize(
    "between",
    [
        "r1 = r10\nr1 += -8\nr2 = 8\ncall probe_read_kernel",
        "r2 = r10\nr2 += r6\n*(u64 *)(r2 +0) = r6",  # somewhere on the stack
        "r1 = r10\nr1 += -8\ncall sub",
    ],
)
def test_a_number_on_the_stack_is_not_known_once_somebody_may_have_written_there(
    between: str,
) -> None:
    text = f"""
        r6 = *(u64 *)(r1 +0)
        r7 = 7
        *(u64 *)(r10 -8) = r7
        {between}
        r0 = *(u64 *)(r10 -8)
        exit
        sub: r0 = 1
        exit
    """
    (told,) = facts(assemble_insns(text)).returns
    assert told.values is None


def test_a_function_that_was_called_may_have_changed_an_address_on_the_stack() -> None:
    text = (
        LOOKUP
        + """
        *(u64 *)(r10 -16) = r0
        r1 = r10
        r1 += -16
        call sub
        r7 = *(u64 *)(r10 -16)
        *(u64 *)(r7 +0) = 1
        out: r0 = 0
        exit
        sub: r0 = 1
        exit
    """
    )
    assert uses(text) == [(5, 5, e.LOOKUP)]


def test_a_callback_is_told_where_it_is_handed_over() -> None:
    text = "r2 = func turn\ncall loop\nexit\nturn: r0 = 1\nexit"
    calls = facts(assemble_insns(text)).calls
    assert [(call.at, call.kind, call.number) for call in calls] == [
        (0, "callback", 4), (2, "helper", HELPER_IDS["loop"]),
    ]  # fmt: skip


def test_the_distance_of_two_addresses_is_no_address() -> None:
    text = (
        LOOKUP
        + """
        r3 = r0
        r3 += 8
        r3 -= r0
        r6 += r3
        *(u64 *)(r6 +0) = 1
        out: exit
    """
    )
    assert uses(text) == [(5, 5, e.LOOKUP)]


def test_where_ways_differ_nothing_is_said() -> None:
    text = """
        r1 = map_fd 5
        if r2 == 0 goto same
        r1 = map_fd 6
        same: call map_lookup_elem
        exit
    """
    assert uses(text) == []


@pytest.mark.parametrize(
    ("helper", "reg", "use"), [(name, *row) for name, row in e.MAP_ARGUMENTS.items()]
)
def test_each_helper_with_a_map(helper: str, reg: int, use: str) -> None:
    text = f"r{reg} = map_fd 9\ncall {helper}\nexit"
    assert uses(text) == [(2, 9, use)]


def test_tables_name_helpers_that_exist() -> None:
    assert set(e.MAP_ARGUMENTS) <= set(HELPER_IDS)
    kfuncs = {"copy_to_user", "send_signal_task", "stream_vprintk", "sock_destroy", "wq_start"} | {
        "set_dentry_xattr", "remove_dentry_xattr", "set_file_xattr",
    }  # fmt: skip
    assert set(e.EFFECTS) - set(HELPER_IDS) == kfuncs


def test_global_data_is_a_map_too() -> None:
    text = "r1 = map_value 7 + 8\nr2 = *(u32 *)(r1 +0)\n*(u32 *)(r1 +4) = r2\nexit"
    assert uses(text) == [(2, 7, e.READ), (3, 7, e.WRITE)]


def test_maps_are_named_as_the_instructions_name_them() -> None:
    insns = assemble_insns("r1 = map_fd 7\ncall 1\nr1 = map_idx 2\ncall 1\nexit")
    assert [use.map for use in facts(insns).maps] == [MapRef("fd", 7), MapRef("idx", 2)]
    assert facts(insns, xlated=True).maps[0].map == MapRef("id", 7)


def test_lookups_that_the_verifier_put_in_place() -> None:
    # array_map_gen_lookup() and percpu_array_map_gen_lookup() in kernel/bpf/arraymap.c.
    array = """
        r1 = map[id:3]
        r1 += 304
        r0 = *(u32 *)(r2 +0)
        if r0 >= 0x2 goto none
        r0 <<= 3
        r0 += r1
        goto found
        none: r0 = 0
        found: if r0 == 0 goto out
        *(u64 *)(r0 +0) = 1
        out: exit
    """
    assert uses(array, xlated=True) == [(2, 3, e.LOOKUP), (10, 3, e.WRITE)]
    percpu = array.replace(
        "goto found", "r0 = *(u64 *)(r0 +0)\nr0 = &(void __percpu *)(r0)\ngoto found"
    )
    assert uses(percpu, xlated=True) == [(2, 3, e.LOOKUP), (12, 3, e.WRITE)]


def test_effects_rest_on_their_calls() -> None:
    found = facts(assemble_insns("call override_return\ncall trace_printk\nexit"))
    assert found.effects == (
        Effect(0, "overrides a function's return value", "bpf_override_return"),
        Effect(1, "prints to the trace log", "bpf_trace_printk"),
    )


def test_calls_of_every_kind() -> None:
    insns = assemble_insns("call 5\ncall kfunc 77\ncallx r3\ncall sub\nexit\nsub: exit")
    found = facts(insns, call=lambda insn: "bpf_sock_destroy" if insn.src == 2 else None)
    assert found.calls == (
        Call(0, "helper", "bpf_ktime_get_ns", 5),
        Call(1, "kfunc", "bpf_sock_destroy", 77),
        Call(2, "register", "", None),
        Call(3, "subprogram", "", 5),
    )
    assert found.effects == (Effect(1, "ends a socket", "bpf_sock_destroy"),)


def test_calls_of_a_dump_are_named_by_the_caller() -> None:
    insns = [*assemble_insns("r1 = map[id:3]"), Insn(0x85, imm=123456), Insn(0x95)]
    found = facts(insns, xlated=True, call=lambda insn: "htab_map_update_elem")
    assert found.calls == (Call(2, "helper", "htab_map_update_elem", 2),)
    assert [use.use for use in found.maps] == [e.UPDATE]


def test_a_dump_tells_neither_btf_ids_nor_distances() -> None:
    insns = [Insn(0x85, 0, 2, imm=4711), Insn(0x85, 0, 1, 1, 1), *assemble_insns("exit\nexit")]
    names = {2: "bpf_rcu_read_lock", 1: "+1#bpf_prog_aa_sub"}
    assert facts(insns, xlated=True, call=lambda insn: names[insn.src]).calls == (
        Call(0, "kfunc", "bpf_rcu_read_lock", None),
        Call(1, "subprogram", "bpf_prog_aa_sub", 3),
    )
    assert facts(insns, xlated=True).calls[1].name == ""


@pytest.mark.parametrize(
    ("symbol", "helper"),
    [
        ("bpf_map_lookup_elem", "map_lookup_elem"),
        ("__htab_map_lookup_elem", "map_lookup_elem"),
        ("htab_lru_map_delete_elem", "map_delete_elem"),
        ("dev_map_redirect", "redirect_map"),
        ("bpf_perf_event_output_tp", "perf_event_output"),
        ("bpf_get_stackid_raw_tp", "get_stackid"),
        ("bpf_user_rnd_u32", "get_prandom_u32"),
        ("bpf_for_each_array_elem", "for_each_map_elem"),
        ("bpf_xdp_redirect", "redirect"),
        ("bpf_nothing_like_it", "nothing_like_it"),
        ("", ""),
    ],
)
def test_kernel_functions_and_their_helpers(symbol: str, helper: str) -> None:
    assert e.helper_of(symbol) == helper


def test_stack_depth_of_each_function() -> None:
    text = """
        *(u64 *)(r10 -8) = 1
        r1 = r10
        r1 += -40
        *(u32 *)(r1 +4) = 2
        call sub
        exit
        sub: r2 = *(u64 *)(r10 -128)
        exit
    """
    assert facts(assemble_insns(text)).stacks == (Stack(0, 40, 2), Stack(6, 128, 6))


def test_what_the_program_returns() -> None:
    text = """
        w0 = 1
        if r1 == 0 goto out
        r0 = 2
        out: exit
        sub: r0 = 7
        exit
    """
    assert facts(assemble_insns(text)).returns == (Return(3, (1, 2)),)
    assert facts(assemble_insns("call 7\nexit")).returns == (Return(1, None),)
    many = "".join(f"r0 = {n}\nif r1 == {n} goto out\n" for n in range(9)) + "out: exit"
    assert facts(assemble_insns(many)).returns == (Return(18, None),)


def test_loops_settle() -> None:
    text = "r0 = 0\nr1 = r10\nagain: r1 += -8\n*(u64 *)(r1 +0) = 1\nr0 = 1\ngoto again"
    assert facts(assemble_insns(text)).returns == ()


def test_what_takes_an_address_away() -> None:
    start = LOOKUP + "r7 = r0\n"
    for between in (
        "r7 = load_acquire((u64 *)(r7 +0))",
        "r7 = atomic64_xchg((u64 *)(r10 -8), r7)",
        "r7 *= 2",
        "w7 = w7",
        "r7 = (s8)r7",
    ):
        found = uses(start + between + "\n*(u64 *)(r7 +0) = 1\nout: exit")
        assert e.WRITE not in [use for _, _, use in found]
    # The result of a compare and exchange goes to r0, whatever register it stores.
    text = LOOKUP + "r0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r1)\n*(u8 *)(r0 +0) = 1\nout: exit"
    assert uses(text) == [(5, 5, e.LOOKUP)]


def test_packet_loads_clobber_like_calls() -> None:
    text = "r1 = map_fd 5\nr0 = *(u8 *)skb[0]\ncall map_lookup_elem\nexit"
    assert uses(text) == []


def test_values_by_index_and_plain_wide_numbers() -> None:
    insns = assemble_insns("r1 = map_idx_value 3 + 8\n*(u8 *)(r1 +0) = 1\nr0 = 9 ll\nexit")
    found = facts(insns)
    assert [(use.map, use.use) for use in found.maps] == [(MapRef("idx", 3), e.WRITE)]
    assert found.returns == (Return(5, (9,)),)
    assert facts(assemble_insns("r0 = btf_id 9\nexit")).returns == (Return(2, None),)


def test_null_or_address_is_an_address_either_way_round() -> None:
    text = "r0 = 0\nif r1 == 0 goto out\nr0 = map_value 4\nout: *(u8 *)(r0 +0) = 1\nexit"
    swapped = "r0 = map_value 4\nif r1 == 0 goto out\nr0 = 0\nout: *(u8 *)(r0 +0) = 1\nexit"
    assert uses(text) == [(4, 4, e.WRITE)]
    assert uses(swapped) == [(4, 4, e.WRITE)]


def test_a_load_at_the_very_end() -> None:
    assert uses("r1 = map_value 4\nr1 = *(u64 *)(r1 +0)") == [(2, 4, e.READ)]


def test_adding_an_address_to_a_number() -> None:
    assert uses("r1 = map_value 4\nr2 = 8\nr2 += r1\n*(u8 *)(r2 +0) = 1\nexit") == [(4, 4, e.WRITE)]


def test_a_helper_that_the_kernel_hides_has_no_name() -> None:
    """To a caller who may not see addresses every helper call of a dump reads 0."""
    insns = assemble_insns("call 0\nr0 = 0\nexit")
    found = facts(insns, xlated=True, call=lambda insn: "__bpf_call_base")
    assert found.calls == (Call(0, "helper", "", None),)
