"""How the elements of a map are to be read: by its own types, or as the options say."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from bpflens.cli.keys import key_bytes
from bpflens.cli.session import Session
from bpflens.errors import UsageError
from bpflens.model.map import Map
from bpflens.model.typed import Reading, Readings, asked, readings
from bpflens.present.columns import ELEMENTS, Noun

if TYPE_CHECKING:
    from bpflens.btf import Btf

KEY_FORMS = (
    "a number, hex:01000000 for the bytes, or by its type: 10.0.0.1, pid=7,cpu=1 (other fields 0)"
)


def reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what bytes are."""
    from bpflens.model.decoders import FORMS

    group = parser.add_argument_group("types")
    group.add_argument("--raw", action="store_true", help="bytes, also where there are types")
    group.add_argument("--key-as", metavar="TYPE", help="what keys are (see --value-as)")
    group.add_argument("--value-as", metavar="TYPE",
                       help=f"what values are: {FORMS}; or a type of the kernel's "
                       "or of --btf: 'struct stats'")  # fmt: skip
    group.add_argument("--btf", metavar="FILE",
                       help="where --key-as and --value-as find their types")  # fmt: skip


class Typing:
    """What the options say of a map's bytes, and what the map says itself."""

    def __init__(self, session: Session) -> None:
        self._session = session
        options = session.options
        self.raw: bool = options.raw
        self.key_as: str | None = options.key_as
        self.value_as: str | None = options.value_as
        if self.raw and (self.key_as or self.value_as):
            raise UsageError("--raw gives bytes, --key-as and --value-as say what they are")
        if options.btf and not (self.key_as or self.value_as):
            raise UsageError("--btf is for --key-as and --value-as")
        self._types: Btf | None = None

    def of(self, found: Map) -> Readings:
        """How a map is read. Raises UsageError where what was asked for does not fit it."""
        if self.raw:
            return Readings()
        told = found.basic()
        own = Readings() if self.key_as and self.value_as else readings(found)
        key, value = own.key, own.value
        if self.key_as:
            key = asked(self.key_as, told.key_size, self.types)
        if self.value_as:
            value = asked(self.value_as, told.value_size, self.types)
        return Readings(key, value, "" if key and value else own.why)

    def types(self) -> Btf:
        """The types that --key-as and --value-as choose from: those of a file, or the kernel's."""
        if self._types is None:
            from bpflens.cli.typefile import kernel_types, read_types

            path = self._session.options.btf
            system = self._session.system
            self._types = read_types(system, path) if path else kernel_types(system)
        return self._types


def columns_for(found: Map, how: Readings, add_up: bool) -> Noun:
    """The columns of a map's elements."""
    if how.key is None and how.value is None:
        return ELEMENTS
    from bpflens.present.parts import typed_elements

    return typed_elements(found.facts.per_cpu, add_up)


def key_of(text: str | None, found: Map, reading: Reading | None) -> bytes:
    """The bytes of a key as a person types it. Raises UsageError."""
    size = found.basic().key_size
    if text is None or reading is None or text.startswith("hex:"):
        return key_bytes(text, size)
    try:
        return _typed_key(text, bytes(size), reading)
    except UsageError as error:
        raise UsageError(f"key {text}: {error}") from error


def _typed_key(text: str, data: bytes, reading: Reading) -> bytes:
    fields = re.split(r",(?=[A-Za-z_]\w*[\w.\[\]]*=)", text)
    if not all("=" in field for field in fields):
        # A number is one whatever the fields of the key are; in native byte order, as everywhere.
        if re.fullmatch(r"0[xX][0-9a-fA-F]+|[0-9]+", text) and not _scalar(reading, data):
            return key_bytes(text, len(data))
        return reading.assign(data, "", text)
    for field in fields:
        path, _, value = field.partition("=")
        data = reading.assign(data, path.strip(), value)
    return data


def whole(text: str, data: bytes, reading: Reading | None) -> bytes:
    """The bytes of a whole value in place of `data`. Raises UsageError."""
    if reading is None or text.startswith("hex:"):
        return key_bytes(text, len(data), "value")
    return reading.assign(data, "", text)


def _scalar(reading: Reading, data: bytes) -> bool:
    value: Any = reading.read(data)
    return not isinstance(value, dict | list)
