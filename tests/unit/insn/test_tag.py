"""Tags as the kernel computes them, and our own digest."""

from __future__ import annotations

import pytest

from bpflens.errors import FormatError
from bpflens.insn.asm import assemble
from bpflens.insn.tag import digest, full_tag, tag

RETURN_0 = assemble("r0 = 0\nexit")


def test_known_tags() -> None:
    # Read from Linux 6.18 (SHA-256) and 6.1 (SHA-1).
    assert tag(RETURN_0).hex() == "59f4a931744dcdc6"
    assert tag(RETURN_0, "sha1").hex() == "a04f5eef06a7f555"
    assert len(full_tag(RETURN_0)) == 32
    assert len(full_tag(RETURN_0, "sha1")) == 20


@pytest.mark.parametrize("form", ["map_fd {}", "map_value {}", "map_value {} + 8"])
def test_the_fd_of_a_map_does_not_count(form: str) -> None:
    texts = [f"r1 = {form.format(fd)}\nexit" for fd in (3, 9)]
    assert len({tag(assemble(text)) for text in texts}) == 1
    assert len({digest(assemble(text)) for text in texts}) == 1


def test_the_offset_into_a_value_counts_in_our_digest_only() -> None:
    one, other = (assemble(f"r1 = map_value 3 + {off}\nexit") for off in (0, 8))
    assert tag(one) == tag(other)
    assert digest(one) != digest(other)


@pytest.mark.parametrize("form", ["map_idx {}", "btf_id {}", "map_idx_value {}"])
def test_the_kernel_keeps_what_our_digest_replaces(form: str) -> None:
    one, other = (assemble(f"r1 = {form.format(number)}\nexit") for number in (1, 2))
    assert tag(one) != tag(other)
    assert digest(one) == digest(other)


def test_a_map_counts_the_same_by_fd_and_by_index() -> None:
    assert digest(assemble("r1 = map_fd 5")) == digest(assemble("r1 = map_idx 0"))
    assert digest(assemble("r1 = map_value 5 + 4")) == digest(assemble("r1 = map_idx_value 0 + 4"))


def test_kfunc_numbers_do_not_count_in_our_digest() -> None:
    assert digest(assemble("call kfunc 5")) == digest(assemble("call kfunc 7 in 1"))
    assert digest(assemble("call kfunc 5")) != digest(assemble("call 5"))


def test_plain_numbers_count() -> None:
    assert digest(assemble("r1 = 5 ll")) != digest(assemble("r1 = 6 ll"))
    assert digest(assemble("r1 = 5")) != digest(assemble("r2 = 5"))


def test_a_wide_load_without_its_second_slot() -> None:
    # bpf_prog_calc_tag(): the slot after it is an instruction like any other, and keeps its imm.
    lone = assemble("raw 0x18 1 1 0 77\nr1 = 5")
    assert tag(lone) == tag(assemble("raw 0x18 1 1 0 78\nr1 = 5"))
    assert tag(lone) != tag(assemble("raw 0x18 1 1 0 77\nr1 = 6"))


def test_part_of_a_slot_is_refused() -> None:
    for compute in (tag, digest):
        with pytest.raises(FormatError):
            compute(bytes(9))
