"""Elements as records: bytes in hex, and references as the object that they name."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from bpflens.abi.enums import MapType
from bpflens.abi.mapfacts import Value, facts
from bpflens.abi.netlink import IFINFO, IfLa
from bpflens.snapshot.elements import Describer, ElementRecord, devices, fields_of
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Table, prog, table, u32, u64


def link_message(index: int, name: bytes) -> bytes:
    attribute = struct.pack("=HH", 4 + len(name) + 1, IfLa.IFNAME) + name + b"\0"
    return IFINFO.pack(0, 1, index, 0, 0) + attribute + bytes(-len(attribute) % 4)


def records(kernel: Kernel, id: int = 5) -> list[ElementRecord]:
    with kernel.system() as system, system.map(id) as found:
        return list(Describer(system).records(found.items()))


def only(found: Table, *others: Any) -> ElementRecord:
    kernel = Kernel(found, *others)
    kernel.host.messages = [link_message(3, b"eth0"), link_message(1, b"lo")]
    (record,) = records(kernel)
    return record


def test_bytes_are_told_in_hex() -> None:
    record = only(table(5, elements={u32(1): u64(0x0102)}))
    assert (record.key, record.value) == ("01000000", "0201000000000000")


def test_the_values_of_all_cpus_are_told_by_cpu() -> None:
    record = only(table(5, MapType.PERCPU_HASH, {u32(1): u64(1, 2)}))
    assert record.values == [
        {"cpu": 0, "value": "0100000000000000"}, {"cpu": 1, "value": "0200000000000000"},
    ]  # fmt: skip
    assert record.value is None


def test_a_slot_of_a_prog_array_names_the_program() -> None:
    found = table(5, MapType.PROG_ARRAY, {u32(0): u32(7)}, value_size=4, max_entries=1)
    record = only(found, prog(7, b"tail"))
    assert record.program == {
        "id": 7, "type": "socket_filter", "name": "tail", "tag": "07" * 8,
    }  # fmt: skip


def test_a_program_that_is_gone_is_told_by_its_id_with_the_reason() -> None:
    found = table(5, MapType.PROG_ARRAY, {u32(0): u32(7)}, value_size=4, max_entries=1)
    record = only(found)
    assert record.program is not None
    assert record.program["id"] == 7
    assert "no program with ID 7" in record.program["error"]


def test_a_program_that_is_named_often_is_looked_up_once() -> None:
    slots = {u32(n): u32(7) for n in range(8)}
    kernel = Kernel(table(5, MapType.PROG_ARRAY, slots, value_size=4, max_entries=8), prog(7))
    assert len(records(kernel)) == 8
    assert kernel.counts()["PROG_GET_FD_BY_ID"] == 1
    assert kernel.fds == {}


def test_a_slot_of_a_map_of_maps_names_the_map() -> None:
    found = table(5, MapType.ARRAY_OF_MAPS, {u32(0): u32(6)}, value_size=4, max_entries=1)
    assert only(found, table(6, name=b"inner")).map == {"id": 6, "type": "hash", "name": "inner"}


def test_an_inner_map_that_may_not_be_opened_keeps_its_id() -> None:
    found = table(5, MapType.ARRAY_OF_MAPS, {u32(0): u32(6)}, value_size=4, max_entries=1)
    kernel = Kernel(found, table(6))
    kernel.closed_objects[6] = errno.EPERM
    (record,) = records(kernel)
    assert record.map is not None
    assert record.map["id"] == 6
    assert "cannot be opened" in record.map["error"]


@pytest.mark.parametrize(("ifindex", "device"), [(3, "eth0"), (9, None)])
def test_a_slot_of_a_devmap_names_the_device(ifindex: int, device: str | None) -> None:
    found = table(5, MapType.DEVMAP, {u32(0): u32(ifindex, 7)}, max_entries=1)
    record = only(found, prog(7))
    assert (record.ifindex, record.device) == (ifindex, device)
    assert record.program is not None
    assert ("device" in record.missing) == (device is None)


def test_a_slot_without_a_program_is_known_to_have_none() -> None:
    record = only(table(5, MapType.DEVMAP, {u32(0): u32(3, 0)}, max_entries=1))
    assert (record.program, record.missing) == (None, {})


def test_an_element_of_a_queue_is_known_to_have_no_key() -> None:
    record = only(table(5, MapType.QUEUE, {b"": u64(1)}, key_size=0))
    assert (record.key, record.missing) == (None, {})


@pytest.mark.parametrize("type", list(MapType)[1:], ids=lambda t: t.label)
def test_every_field_of_an_element_of_each_type_has_its_value(type: MapType) -> None:
    row = facts(type)
    if row.unreadable:
        return
    value = u64(1, 2) if row.per_cpu else u32(1, 7, *(9, 0) * (row.value is Value.INSN))
    key_size = 0 if row.walk.value == "peek" else 4
    size = len(value) if row.value is Value.INSN else 8
    found = table(
        5, type, {bytes(key_size): value}, key_size=key_size, value_size=size, max_entries=1
    )
    record = only(found, prog(1), prog(7), table(1))
    for field in fields_of(row):
        assert getattr(record, field) is not None or (field, key_size) == ("key", 0), field


@pytest.mark.parametrize(
    "message", [b"", b"\0" * 15, IFINFO.pack(0, 1, 4, 0, 0) + b"\1", link_message(4, b"")]
)
def test_a_list_of_devices_that_is_damaged_names_those_before_it(message: bytes) -> None:
    kernel = Kernel()
    kernel.host.messages = [link_message(3, b"eth0"), message]
    assert devices(kernel.system())[3] == "eth0"


def test_without_a_network_there_are_no_names_of_devices() -> None:
    kernel = Kernel(table(5, MapType.DEVMAP, {u32(0): u32(3)}, value_size=4, max_entries=1))

    def refuse(protocol: int, request: bytes) -> list[bytes]:
        raise PermissionError(errno.EPERM, "no")

    kernel.host.dump = refuse  # type: ignore[method-assign]
    (record,) = records(kernel)
    assert (record.ifindex, record.device) == (3, None)
