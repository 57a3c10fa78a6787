"""How to test a tool that looks at BPF: on the engine, without root, on any machine.

    pip install 'bpflens[testing]'
    pytest examples/test_my_tool.py

The fixtures `bpf_…` come from bpflens' pytest plugin.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpflens.abi.enums import MapType, ProgType
from bpflens.errors import Denied
from bpflens.model.system import System
from bpflens.port.calls import Calls
from bpflens.testing.builders import map, program, u32, u64


def programs_that_use(system: System, map_name: str) -> list[str]:
    """The tool: the names of the programs that use a map of this name."""
    wanted = set()
    for held in system.maps():
        with held:
            if held.name == map_name:
                wanted.add(held.id)
    found = []
    for prog in system.programs():
        with prog:
            if wanted & set(prog.map_ids()):
                found.append(prog.name)
    return found


def test_the_tool_finds_who_uses_a_map(bpf_calls: Calls, bpf_system: System) -> None:
    counts = map(bpf_calls, MapType.HASH, name="counts")
    program(bpf_calls, "r1 = map_fd counts; r0 = 0; exit", name="counter", counts=counts)
    program(bpf_calls, "r0 = 2; exit", ProgType.XDP, name="passer")
    assert programs_that_use(bpf_system, "counts") == ["counter"]


def test_programs_of_other_users_are_found_too(
    bpf_user: Callable[..., Calls], bpf_system: System
) -> None:
    # The engine's own rule: an object is open to who made it, and to root, who looks here.
    hers = bpf_user(1000)
    counts = map(hers, name="counts")
    program(hers, "r1 = map_fd counts; r0 = 0; exit", name="hers", counts=counts)
    assert programs_that_use(bpf_system, "counts") == ["hers"]


@pytest.mark.bpf(policy="linux")
def test_on_linux_ids_are_for_the_administrator(bpf_user: Callable[..., Calls]) -> None:
    from bpflens.abi.enums import Cmd

    with pytest.raises(Denied):
        bpf_user(1000).next_id(Cmd.PROG_GET_NEXT_ID, 0)


@pytest.mark.bpf(release="6.1")
def test_what_an_older_kernel_does_not_have(bpf_calls: Calls) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        map(bpf_calls, MapType.ARENA)


def test_elements(bpf_calls: Calls) -> None:
    fd = map(bpf_calls, MapType.LRU_HASH, max_entries=10)
    for key in range(100):
        bpf_calls.map_update(fd, u32(key), u64(key))
    assert bpf_calls.map_lookup(fd, u32(99), 8) == u64(99)
