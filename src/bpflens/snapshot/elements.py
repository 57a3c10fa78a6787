"""Elements of a map as records: bytes in hex, and references as the object that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from bpflens.abi.enums import MapType, ProgType
from bpflens.abi.mapfacts import MapFacts, Value
from bpflens.errors import BpflensError, FormatError, UsageError
from bpflens.model.decoders import Plain
from bpflens.model.elements import INSN_DELETED, Element
from bpflens.model.map import Map
from bpflens.model.parts import Missing, Reason, because
from bpflens.model.system import System
from bpflens.model.typed import Readings, total

Named = dict[str, Any]
"""An object by what a person knows it by: id, type, name and, for a program, its tag."""


class ElementRecord(NamedTuple):
    """One element; which fields apply depends on the type of map (`fields_of`)."""

    key: str | None
    value: str | None
    values: list[dict[str, Any]] | None
    program: Named | None
    map: Named | None
    ifindex: int | None
    device: str | None
    queue_size: int | None
    cookie: int | None
    orig_off: int | None
    xlated_off: int | None
    jitted_off: int | None
    missing: dict[str, str]
    formatted: Plain | None = None
    """`key` and `value` as their types read them; per CPU `values`, and `sum` if asked for."""
    inner: Inner | None = None


class Inner(NamedTuple):
    """The elements of an inner map, in an element of the outer one."""

    fields: tuple[str, ...]
    records: list[ElementRecord]
    complete: bool
    why: str


def fields_of(facts: MapFacts, typed: bool = False) -> tuple[str, ...]:
    """The fields that an element of such a map has."""
    last = ("formatted",) if typed else ()
    if facts.per_cpu:
        return "key", "values", *last
    return ("key", "value", *_REFERENCES.get(facts.value, ()), *last)


_REFERENCES: dict[Value, tuple[str, ...]] = {
    Value.PROG_ID: ("program",),
    Value.MAP_ID: ("map",),
    Value.DEVICE: ("ifindex", "device", "program"),
    Value.CPU: ("queue_size", "program"),
    Value.COOKIE: ("cookie",),
    Value.INSN: ("orig_off", "xlated_off", "jitted_off"),
}


_DELETED = Missing(Reason.NONE, "the verifier took the instruction out")


class Describer:
    """Makes records of elements; what they refer to is looked up once for each object."""

    def __init__(
        self,
        system: System,
        readings: Readings | None = None,
        per_cpu: bool = False,
        add_up: bool = False,
    ) -> None:
        self._system = system
        self._readings = readings or Readings()
        self._typed = self._readings != Readings()
        self._per_cpu = per_cpu
        self._add_up = add_up
        self._programs: dict[int, Named] = {}
        self._maps: dict[int, Named] = {}
        self._devices: dict[int, str] | None = None

    def records(self, elements: Iterable[Element]) -> Iterator[ElementRecord]:
        """A record for each element."""
        return map(self.record, elements)

    def recursed(
        self, elements: Iterable[Element], how: Callable[[Map], Readings]
    ) -> Iterator[ElementRecord]:
        """A record for each element of a map of maps, with the inner map's elements in it.

        `how` tells how an inner map is read. Raises UsageError where that does not fit it.
        """
        for element in elements:
            record = self.record(element)
            if element.map_id is not None:
                try:
                    with self._system.map(element.map_id) as found:
                        record = record._replace(inner=self._inner(found, how(found)))
                except UsageError:
                    raise
                except (BpflensError, OSError) as error:
                    record.missing["elements"] = str(because(error))
            yield record

    def _inner(self, found: Map, how: Readings) -> Inner:
        walk = found.items()
        records = list(Describer(self._system, how, found.facts.per_cpu).records(walk))
        typed = bool(how.key or how.value)
        return Inner(fields_of(found.facts, typed), records, walk.complete, walk.why)

    def _formatted(self, element: Element, missing: dict[str, str]) -> Plain | None:
        """What the types of an element say."""
        key, value, why = self._readings
        if why:
            missing["formatted"] = why
        if key is None and value is None:
            return None
        told: Plain = {}
        try:
            if key is not None and element.key:
                told["key"] = key.read(element.key)
            if value is not None and not self._per_cpu:
                told["value"] = value.read(element.values[0])
            elif value is not None:
                read = [value.read(data) for data in element.values]
                told["values"] = [{"cpu": cpu, "value": one} for cpu, one in enumerate(read)]
                if self._add_up:
                    told["sum"] = total(read)
        except FormatError as error:
            missing["formatted"] = str(because(error))
            return None
        return told

    def record(self, element: Element) -> ElementRecord:
        """The record of one element."""
        missing: dict[str, str] = {}
        single = element.values[0].hex() if len(element.values) == 1 else None
        program = None if element.prog_id is None else self._program(element.prog_id)
        device = None
        if element.ifindex is not None:
            device = self._device(element.ifindex)
            if device is None:
                missing["device"] = "gone: no device with this index in this network namespace"
        if element.xlated_off == INSN_DELETED:
            element = element._replace(xlated_off=None, jitted_off=None)
            missing |= dict.fromkeys(("xlated_off", "jitted_off"), str(_DELETED))
        return ElementRecord(
            element.key.hex() or None,
            single,
            [{"cpu": cpu, "value": value.hex()} for cpu, value in enumerate(element.values)]
            if self._per_cpu or single is None
            else None,
            program,
            None if element.map_id is None else self._map(element.map_id),
            element.ifindex,
            device,
            element.queue_size,
            element.cookie,
            element.orig_off,
            element.xlated_off,
            element.jitted_off,
            missing,
            self._formatted(element, missing) if self._typed else None,
        )

    def _program(self, id: int) -> Named:
        if id not in self._programs:
            self._programs[id] = _described(self._system, id, _describe_program)
        return self._programs[id]

    def _map(self, id: int) -> Named:
        if id not in self._maps:
            self._maps[id] = _described(self._system, id, describe_map)
        return self._maps[id]

    def _device(self, ifindex: int) -> str | None:
        if self._devices is None:
            self._devices = devices(self._system)
        return self._devices.get(ifindex)


def _described(system: System, id: int, describe: Any) -> Named:
    try:
        found: Named = describe(system, id)
    except (BpflensError, OSError) as error:
        return {"id": id, "error": str(error)}  # gone, or not ours to open: the ID still stands
    return found


def _describe_program(system: System, id: int) -> Named:
    with system.program(id) as program:
        kind = ProgType(program.basic().type).label
        return {"id": id, "type": kind, "name": program.name, "tag": program.tag}


def describe_map(system: System, id: int) -> Named:
    """A map by what a person knows it by. Raises NotFound, Denied."""
    with system.map(id) as found:
        return named_map(found)


def named_map(found: Map) -> Named:
    """The same for a map that is open."""
    return {"id": found.id, "type": MapType(found.basic().type).label, "name": found.name}


def devices(system: System) -> dict[int, str]:
    """The names of the devices in this network namespace by index; empty where it is refused."""
    from bpflens.attach.networks import each_device  # 20 ms, for maps that name devices

    names: dict[int, str] = {}
    with suppress(OSError, FormatError):
        for device in each_device(system):
            names[device.ifindex] = device.name
    return names
