"""What the verifier takes and refuses: the basics, on socket filters unless said otherwise."""

from __future__ import annotations

import errno

from bpflens.abi.enums import MapFlag, MapType
from bpflens.abi.enums import ProgType as P
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.port.calls import Calls
from bpflens.testing.builders import btf, map, program
from bpflens.testing.conformance.loading import TYPES
from bpflens.testing.conformance.suite import cases, fails

GOOD = {
    "arithmetic": "r0 = 1; r0 += 2; r0 *= 3; r0 /= 4; r0 %= 5; r0 ^= 6; r0 |= 7; r0 &= 8; exit",
    "shifts": "r0 = 1; r0 <<= 63; r0 >>= 1; r0 s>>= 1; w0 <<= 31; exit",
    "negation": "r0 = 1; r0 = -r0; w0 = -w0; exit",
    "byte_swap": "r0 = 1; r0 = be64 r0; r0 = le16 r0; exit",
    "division_by_register": "r0 = 1; r2 = 0; r0 /= r2; exit",
    "stack": "*(u64 *)(r10 -8) = 5; r0 = *(u64 *)(r10 -8); exit",
    "stack_bottom": "*(u64 *)(r10 -512) = 5; r0 = 0; exit",
    "stack_by_bytes": "*(u8 *)(r10 -1) = 5; r0 = *(u8 *)(r10 -1); exit",
    "stack_of_register": "r1 = 7; *(u64 *)(r10 -16) = r1; r0 = *(u32 *)(r10 -16); exit",
    "spilled_context": "*(u64 *)(r10 -8) = r1; r1 = *(u64 *)(r10 -8); r0 = *(u32 *)(r1 +0); exit",
    "context": "r0 = *(u32 *)(r1 +0); exit",
    "branches": "r0 = 0; if r1 != 0 goto a; r0 = 1; goto b; a: r0 = 2; b: exit",
    "32_bit_branch": "r0 = 5; if w0 > 4 goto a; r0 = 1; a: exit",
    "signed_branch": "r0 = 5; if r0 s< -1 goto a; r0 = 1; a: exit",
    "bit_branch": "r0 = 5; if r0 & 1 goto a; r0 = 1; a: exit",
    "two_exits": "r0 = 0; if r1 == 0 goto a; exit; a: r0 = 1; exit",
    "helper": "call ktime_get_ns; r0 = 0; exit",
    "helper_result": "call get_prandom_u32; exit",
    "helper_keeps": "r6 = r1; call ktime_get_ns; r0 = *(u32 *)(r6 +0); exit",
    "function": "call f; exit; f: r0 = 3; exit",
    "function_with_arguments": "r1 = 1; r2 = 2; call f; exit; f: r0 = r1; r0 += r2; exit",
    "function_twice": "call f; call f; exit; f: r0 = 3; exit",
    "functions_in_functions": "call f; exit; f: call g; exit; g: r0 = 1; exit",
    "function_stack": "call f; exit; f: *(u64 *)(r10 -256) = 1; r0 = *(u64 *)(r10 -256); exit",
    "loop": "r0 = 0; again: r0 += 1; if r0 != 10 goto again; exit",
    "loop_of_thousands": "r0 = 0; again: r0 += 1; if r0 < 5000 goto again; exit",
    "atomic_add": "*(u64 *)(r10 -8) = 0; r0 = 1; lock *(u64 *)(r10 -8) += r0; exit",
    "wide_constant": "r0 = 0x1234567812345678 ll; exit",
    "pointer_kept": "r2 = r1; r2 += 0; r0 = *(u32 *)(r2 +4); exit",
    "frame_pointer_copy": "r2 = r10; r2 += -8; *(u64 *)(r2 +0) = 1; r0 = 0; exit",
    "packet_byte": "r6 = r1; r0 = *(u8 *)skb[0]; exit",
    "unknown_scalar_compared": "r0 = *(u32 *)(r1 +0); if r0 > 10 goto a; exit; a: r0 = 0; exit",
    "pointer_returned": "r0 = r10; exit",  # may leak: CAP_PERFMON
    "goto_0": "goto +0; r0 = 0; exit",
    "many": "; ".join(["r0 = 0"] * 4000) + "; exit",
}


@cases(**GOOD)
def check_good(calls: Calls, text: str) -> None:
    """A sound program loads."""
    program(calls, text)


BAD = {
    # the shape of the code
    "no_exit": ("r0 = 0", errno.EINVAL),
    "falls_off": ("r0 = 0; if r0 == 1 goto +1; exit; r0 = 1", errno.EINVAL),
    "unreachable": ("r0 = 0; exit; r0 = 1; exit", errno.EINVAL),
    "jump_past_the_end": ("r0 = 0; goto +5; exit", errno.EINVAL),
    "jump_before_the_start": ("r0 = 0; goto -5; exit", errno.EINVAL),
    "jump_into_wide": ("r0 = 0; if r0 == 1 goto +1; r1 = 1 ll; exit", errno.EINVAL),
    "half_a_wide_load": ("r0 = 0; exit; raw 0x18 0 0 0 0", errno.EINVAL),
    "wide_without_second": ("raw 0x18 0 0 0 0; r0 = 0; exit", errno.EINVAL),
    "call_past_the_end": ("call +9; exit", errno.EINVAL),
    "function_falls_through": ("call f; exit; f: r0 = 1", errno.EINVAL),
    "jump_out_of_function": ("call f; exit; f: goto -2; exit", errno.EINVAL),
    "endless_loop": ("r0 = 0; a: goto a; exit", errno.EINVAL),
    # what is no instruction
    "code_0": ("raw 0 0 0 0 0; r0 = 0; exit", errno.EINVAL),
    "code_ff": ("raw 0xff 0 0 0 0; r0 = 0; exit", errno.EINVAL),
    "register_11": ("raw 0xb7 11 0 0 0; r0 = 0; exit", errno.EINVAL),
    "source_12": ("raw 0xbf 0 12 0 0; exit", errno.EINVAL),
    "move_with_offset": ("raw 0xb7 0 0 7 0; exit", errno.EINVAL),
    "move_with_imm": ("r1 = 0; raw 0xbf 0 1 0 7; exit", errno.EINVAL),
    "exit_with_imm": ("r0 = 0; raw 0x95 0 0 0 1", errno.EINVAL),
    "exit_with_register": ("r0 = 0; raw 0x95 1 0 0 0", errno.EINVAL),
    "goto_with_imm": ("r0 = 0; raw 0x05 0 0 0 3; exit", errno.EINVAL),
    "negation_with_source": ("r0 = 0; raw 0x87 0 1 0 0; exit", errno.EINVAL),
    "swap_of_24_bits": ("r0 = 0; raw 0xd4 0 0 0 24; exit", errno.EINVAL),
    "call_with_register": ("raw 0x85 1 0 0 5; r0 = 0; exit", errno.EINVAL),
    "call_with_offset": ("raw 0x85 0 0 3 5; r0 = 0; exit", errno.EINVAL),
    "load_with_imm": ("raw 0x61 0 1 0 9; exit", errno.EINVAL),
    "shift_by_64": ("r0 = 1; r0 <<= 64; exit", errno.EINVAL),
    "shift_by_32": ("r0 = 1; w0 <<= 32; exit", errno.EINVAL),
    "division_by_0": ("r0 = 1; r0 /= 0; exit", errno.EINVAL),
    "modulo_0": ("r0 = 1; w0 %= 0; exit", errno.EINVAL),
    # registers
    "nothing_returned": ("exit", errno.EACCES),
    "unset_register": ("r0 = r2; exit", errno.EACCES),
    "unset_on_one_path": ("if r1 == 0 goto a; r0 = 1; a: exit", errno.EACCES),
    "unset_after_call": ("call ktime_get_ns; r0 = r1; exit", errno.EACCES),
    "unset_in_arithmetic": ("r0 = 0; r0 += r3; exit", errno.EACCES),
    "unset_in_branch": ("r0 = 0; if r4 == 0 goto +0; exit", errno.EACCES),
    "frame_pointer_written": ("r10 = 0; r0 = 0; exit", errno.EACCES),
    "frame_pointer_moved": ("r10 += -8; r0 = 0; exit", errno.EACCES),
    "caller_registers": ("r6 = 1; call f; exit; f: r0 = r6; exit", errno.EACCES),
    # memory
    "below_the_stack": ("*(u64 *)(r10 -520) = 0; r0 = 0; exit", errno.EACCES),
    "above_the_stack": ("*(u64 *)(r10 +0) = 0; r0 = 0; exit", errno.EACCES),
    "across_the_top": ("*(u64 *)(r10 -4) = 0; r0 = 0; exit", errno.EACCES),
    "unaligned_stack": ("*(u64 *)(r10 -12) = 0; r0 = 0; exit", errno.EACCES),
    "through_a_number": ("r2 = 5; r0 = *(u64 *)(r2 +0); exit", errno.EACCES),
    "context_outside": ("r0 = *(u32 *)(r1 +1000); exit", errno.EACCES),
    "context_before": ("r0 = *(u32 *)(r1 -4); exit", errno.EACCES),
    "context_written": ("r0 = 0; *(u32 *)(r1 +0) = 0; exit", errno.EACCES),
    "context_moved": ("r2 = *(u32 *)(r1 +0); r1 += r2; r0 = *(u32 *)(r1 +0); exit", errno.EACCES),
    "atomic_on_context": ("r0 = 1; lock *(u64 *)(r1 +48) += r0; exit", errno.EACCES),
    "too_much_stack": (
        ("call f; exit; f: *(u64 *)(r10 -512) = 1; call g; exit;"
        "g: *(u64 *)(r10 -512) = 1; r0 = 0; exit"),
        errno.EACCES,
    ),
    # calls
    "helper_0": ("call 0; r0 = 0; exit", errno.EINVAL),
    "helper_of_others": ("call redirect; r0 = 0; exit", errno.EINVAL),
    "helper_unknown": ("call 9999; r0 = 0; exit", errno.EINVAL),
    "helper_without_map": ("r1 = 0; r2 = r10; call map_lookup_elem; exit", errno.EACCES),
    "recursion": ("call f; exit; f: call f; exit", errno.E2BIG),
}  # fmt: skip


@cases(**BAD)
def check_bad(calls: Calls, text: str, code: int) -> None:
    """An unsound program is refused."""
    fails(code, program, calls, text)


# --- maps in use

LOOKUP = """
    *(u32 *)(r10 -4) = 0; r2 = r10; r2 += -4; r1 = map_fd m; call map_lookup_elem
"""


@cases(
    looked_at="if r0 == 0 goto a; r0 = *(u64 *)(r0 +0); a: r0 = 0; exit",
    stored="if r0 == 0 goto a; *(u64 *)(r0 +0) = 7; a: r0 = 0; exit",
    atomic="if r0 == 0 goto a; r1 = 1; lock *(u64 *)(r0 +0) += r1; a: r0 = 0; exit",
    last_byte="if r0 == 0 goto a; *(u8 *)(r0 +7) = 1; a: r0 = 0; exit",
)
def check_value(calls: Calls, text: str) -> None:
    """A value may be used once it is known not to be NULL."""
    program(calls, LOOKUP + text, m=map(calls, MapType.HASH))


@cases(
    unchecked="r0 = *(u64 *)(r0 +0); exit",
    wrong_branch="if r0 != 0 goto a; r0 = *(u64 *)(r0 +0); a: r0 = 0; exit",
    past_the_end="if r0 == 0 goto a; *(u64 *)(r0 +8) = 7; a: r0 = 0; exit",
    across_the_end="if r0 == 0 goto a; *(u64 *)(r0 +4) = 7; a: r0 = 0; exit",
    before="if r0 == 0 goto a; *(u64 *)(r0 -8) = 7; a: r0 = 0; exit",
)
def check_value_misused(calls: Calls, text: str) -> None:
    """A value may not be used unchecked or outside of its bounds (EACCES)."""
    fails(errno.EACCES, program, calls, LOOKUP + text, m=map(calls, MapType.HASH))


def check_key_that_is_not_set(calls: Calls) -> None:
    """The key must have been written (EACCES)."""
    text = "r2 = r10; r2 += -4; r1 = map_fd m; call map_lookup_elem; r0 = 0; exit"
    # CAP_PERFMON may read stack that is not initialised, since 6.3: the key's map is no exception
    program(calls, "*(u32 *)(r10 -4) = 0; " + text, m=map(calls, MapType.HASH))
    fails(errno.EACCES, program, calls, text.replace("-4", "-600"), m=map(calls, MapType.HASH))


def check_read_only_map(calls: Calls) -> None:
    """A program cannot write to a map that is read-only for programs (EACCES)."""
    text = LOOKUP + "if r0 == 0 goto a; *(u64 *)(r0 +0) = 7; a: r0 = 0; exit"
    fd = map(calls, MapType.HASH, flags=MapFlag.RDONLY_PROG)
    fails(errno.EACCES, program, calls, text, m=fd)


def check_write_only_map(calls: Calls) -> None:
    """A program cannot read from a map that is write-only for programs (EACCES)."""
    fd = map(calls, MapType.HASH, flags=MapFlag.WRONLY_PROG)
    text = LOOKUP + "if r0 == 0 goto a; r0 = *(u64 *)(r0 +0); a: r0 = 0; exit"
    fails(errno.EACCES, program, calls, text, m=fd)


@cases(
    tail_call_in_hash=(
        MapType.HASH, "r2 = map_fd m; r3 = 0; call tail_call; r0 = 0; exit",
    ),
    perf_output_in_hash=(
        MapType.HASH,
        ("r2 = map_fd m; r3 = 0; r4 = r10; r4 += -8; *(u64 *)(r10 -8) = 0; r5 = 8;"
        "call perf_event_output; r0 = 0; exit"),
    ),
)  # fmt: skip
def check_helper_of_another_map(calls: Calls, type: MapType, text: str) -> None:
    """A helper takes the maps that it is for (EINVAL)."""
    fails(errno.EINVAL, program, calls, text, m=map(calls, type))


def check_tail_call(calls: Calls) -> None:
    """A tail call goes through an array of programs."""
    text = "r2 = map_fd m; r3 = 0; call tail_call; r0 = 0; exit"
    program(calls, text, m=map(calls, MapType.PROG_ARRAY))


def check_direct_value(calls: Calls) -> None:
    """The one value of an array can be used directly, without a lookup."""
    fd = map(calls, max_entries=1)
    program(calls, "r1 = map_value m; *(u64 *)(r1 +0) = 5; r0 = *(u64 *)(r1 +0); exit", m=fd)
    fails(errno.EACCES, program, calls, "r1 = map_value m; r0 = *(u64 *)(r1 +4); exit", m=fd)


def check_direct_value_in_parts(calls: Calls) -> None:
    """With an offset, what is left of the value is what may be used (EACCES)."""
    fd = map(calls, max_entries=1)
    program(calls, "r1 = map_value m + 4; r0 = *(u32 *)(r1 +0); exit", m=fd)
    fails(errno.EACCES, program, calls, "r1 = map_value m + 4; r0 = *(u64 *)(r1 +0); exit", m=fd)


@cases(
    xdp=(P.XDP, "r0 = 2; exit", 0), xdp_any=(P.XDP, "r0 = 99; exit", 0),
    cgroup_skb=(P.CGROUP_SKB, "r0 = 1; exit", 0),
    cgroup_device_2=(P.CGROUP_DEVICE, "r0 = 2; exit", errno.EINVAL),
    cgroup_sysctl_2=(P.CGROUP_SYSCTL, "r0 = 2; exit", errno.EINVAL),
    sock_ops_2=(P.SOCK_OPS, "r0 = 2; exit", errno.EINVAL),
    sk_lookup_0=(P.SK_LOOKUP, "r0 = 0; exit", 0),
)  # fmt: skip
def check_return_value(calls: Calls, type: P, text: str, code: int) -> None:
    """What a program may return depends on its type (EINVAL)."""
    attach = 36 if type == P.SK_LOOKUP else 0
    if code:
        fails(code, program, calls, text, type, attach_type=attach)
    else:
        program(calls, text, type, attach_type=attach)


@cases(
    kprobe=(P.KPROBE, 0), tracepoint=(P.TRACEPOINT, 0), perf_event=(P.PERF_EVENT, 0),
    raw_tracepoint=(P.RAW_TRACEPOINT, 0), socket_filter=(P.SOCKET_FILTER, errno.EACCES),
)  # fmt: skip
def check_stack_of_a_chain(calls: Calls, type: P, code: int) -> None:
    """Functions that call one another share 512 bytes; those that trace may have more."""
    text = """
        *(u64 *)(r10 -400) = 1; call f; r0 = 0; exit
        f: *(u64 *)(r10 -400) = 1; r0 = 0; exit
    """
    if code:
        fails(code, program, calls, text, type)
    else:
        program(calls, text, type)


@cases(
    all_of_it=("call f; exit; f: *(u64 *)(r10 -512) = 1; call g; exit; g: r0 = 0; exit", 0),
    two=("*(u8 *)(r10 -9) = 1; call f; exit; f: *(u8 *)(r10 -488) = 1; r0 = 0; exit", 0),
    rounded=(
        "*(u8 *)(r10 -1) = 1; call f; exit; f: *(u8 *)(r10 -497) = 1; r0 = 0; exit", errno.EACCES,
    ),
)  # fmt: skip
def check_stack_to_the_end(calls: Calls, text: str, code: int) -> None:
    """The stack of each function counts in steps of 16 bytes; one that has none costs nothing."""
    if code:
        fails(code, program, calls, text)
    else:
        program(calls, text)


def check_calls_in_dead_code(calls: Calls) -> None:
    """Calls that go too deep are refused (E2BIG) even where nothing ever calls."""
    text = "r0 = 0; if r0 == 0 goto out; call f; out: exit; f: call f; exit"
    fails(errno.E2BIG, program, calls, text)


@cases(
    named=(["exception_callback:f"], "f", 0),
    twice=(["exception_callback:f", "exception_callback:g"], "f", errno.EEXIST),
    unknown=(["exception_callback:g"], "f", errno.ENOENT),
    main=(["exception_callback:main"], "f", errno.EINVAL),
    untagged=(["other"], "f", errno.EINVAL),
)
def check_function_for_exceptions(calls: Calls, tags: list[str], name: str, code: int) -> None:
    """A function that nothing calls is part of a program whose tag names it for exceptions."""
    made = BtfBuilder()
    number = made.add_int("int", 4, Int.SIGNED)
    word = made.add_int("unsigned long", 8)
    main = made.add_func("main", made.add_func_proto(number, [("context", word)]), linkage=0)
    other = made.add_func(name, made.add_func_proto(number, [("cookie", word)]), linkage=1)
    for tag in tags:
        made.add_decl_tag(tag, main)
    types, funcs = btf(calls, made.build()), [(0, main), (2, other)]
    text = "r0 = 0; exit; r0 = r1; exit"
    if code:
        fails(code, program, calls, text, P.SCHED_CLS, btf=types, funcs=funcs)
    else:
        program(calls, text, P.SCHED_CLS, btf=types, funcs=funcs)


def check_map_and_nothing(calls: Calls) -> None:
    """To a map only zero may be added, from either side; nothing may be taken from it (EACCES)."""
    fd = map(calls)
    for text in ("r1 = map_fd m; r1 += 0", "r1 = 0; r2 = map_fd m; r1 += r2"):
        program(calls, text + "; r0 = 0; exit", m=fd)
    for text in ("r1 = map_fd m; r1 += 4", "r1 = map_fd m; r1 -= 0"):
        fails(errno.EACCES, program, calls, text + "; r0 = 0; exit", m=fd)


def check_gpl_helper(calls: Calls) -> None:
    """Some helpers are for programs under the GPL only (EINVAL)."""
    text = "r1 = r10; r1 += -8; r2 = 8; r3 = 0; call probe_read_kernel; r0 = 0; exit"
    program(calls, text, P.TRACEPOINT, license="GPL")
    fails(errno.EINVAL, program, calls, text, P.TRACEPOINT, license="Proprietary")


def check_32_bit_sizes_of_a_map(calls: Calls) -> None:
    """A program's own update stores what it has on its stack."""
    text = """
        *(u32 *)(r10 -4) = 1; *(u64 *)(r10 -16) = 2; r2 = r10; r2 += -4; r3 = r10; r3 += -16
        r4 = 0; r1 = map_fd m; call map_update_elem; r0 = 0; exit
    """
    program(calls, text, m=map(calls, MapType.HASH))


CONTEXTS = {
    P.SOCKET_FILTER: 192, P.SCHED_CLS: 192, P.XDP: 24, P.CGROUP_SKB: 192, P.CGROUP_SOCK: 80,
    P.CGROUP_SOCK_ADDR: 72, P.CGROUP_DEVICE: 12, P.CGROUP_SYSCTL: 8, P.FLOW_DISSECTOR: 192,
    P.SK_LOOKUP: 72, P.NETFILTER: 16,
}  # fmt: skip
"""Types of programs → how long their context is."""


@cases(**{type.label: (type, size) for type, size in CONTEXTS.items()})
def check_context_ends(calls: Calls, type: P, size: int) -> None:
    """A context is not read before its beginning or behind its end, nor written there (EACCES)."""
    attach = TYPES[type]
    for at in (-8, -4, size, size + 8):
        for text in (f"r0 = *(u32 *)(r1 {at:+}); r0 = 1; exit", f"*(u32 *)(r1 {at:+}) = 1; exit"):
            fails(errno.EACCES, program, calls, text, type, attach_type=attach)


@cases(**{type.label: type for type in CONTEXTS if type in (
    P.XDP, P.CGROUP_DEVICE, P.FLOW_DISSECTOR, P.SK_LOOKUP, P.NETFILTER)})  # fmt: skip
def check_context_is_read_only(calls: Calls, type: P) -> None:
    """Some contexts cannot be written at all (EACCES)."""
    for at in range(0, CONTEXTS[type], 4):
        text = f"*(u32 *)(r1 {at:+}) = 1; r0 = 1; exit"
        fails(errno.EACCES, program, calls, text, type, attach_type=TYPES[type])
