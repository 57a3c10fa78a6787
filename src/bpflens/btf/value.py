"""A value as a tree: what a type makes of some bytes, before it is text or JSON.

Each node knows its name, its type and which bits it is made of; what else it holds depends on the
class. `to_json` and `to_text` are the two ways to print a tree.
"""

from __future__ import annotations

from itertools import groupby, islice

from bpflens.btf.types import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"]


MAX_LISTED = 100_000
"""Elements of one array that `to_text` shows; nobody reads more."""


class Value(Record):
    """Any value. `name` is "" for the whole, for elements and for what has no name.

    `at` and `bits` tell the place in the data; `type_id` is the type as it was declared, typedefs
    and qualifiers included. `tags` are the declaration tags (`btf_decl_tag`) of the member.
    """

    name: str
    type_id: int
    at: int
    bits: int
    tags: tuple[str, ...]


class Number(Value):
    """An integer; `meaning` is what its typedef says about it, as that of `__be16`, or ""."""

    value: int
    meaning: str


class Boolean(Value):
    """A `_Bool`; any value but 0 is true."""

    value: bool


class Character(Value):
    """A byte that BTF calls a character; compilers mostly call them integers."""

    value: int


class Real(Value):
    """A floating-point number."""

    value: float


class Text(Value):
    """An array of `char` that holds printable ASCII and ends with NUL; without that NUL."""

    value: str


class Pointer(Value):
    """An address."""

    value: int


class Label(Value):
    """A value of an enumeration; `label` is "" for one that the type has no name for."""

    value: int
    label: str


class Numbers(Value):
    """An array of integers or pointers, as numbers: one node, since it may have a million."""

    values: tuple[int, ...]


class Items(Value):
    """An array of anything else."""

    items: tuple[Value, ...]


class Fields(Value):
    """A struct, a union with all its members, or the variables of a section."""

    members: tuple[Value, ...]
    meaning: str


class Opaque(Value):
    """Bytes of a type that BTF does not describe further."""

    data: bytes


def to_json(value: Value) -> Json:
    """Plain Python values for a JSON encoder, of the shape that `bpftool map dump -j` gives.

    Numbers and pointers are integers, enumerators are strings where they have a name, `char` arrays
    are strings where they are text. Unlike bpftool's, bit fields are integers as well (there:
    hex strings), and the members of an anonymous struct or union are those of the struct around
    it (there: under the key "", of which JSON keeps only one). Integers may exceed 64 bits.
    """
    match value:
        case Number() | Boolean() | Real() | Text() | Pointer():
            return value.value
        case Character():
            return chr(value.value & 0xFF)
        case Label():
            return value.label or value.value
        case Numbers():
            return list(value.values)
        case Items():
            return [to_json(item) for item in value.items]
        case Fields():
            return {member.name: to_json(member) for member in flat_members(value)}
        case Opaque():
            return value.data.hex()
    raise TypeError(f"no JSON for {type(value).__name__}")


def flat_members(value: Fields) -> Iterator[Value]:
    """The members, and in place of anonymous structs and unions theirs."""
    for member in value.members:
        if isinstance(member, Fields) and not member.name:
            yield from flat_members(member)
        else:
            yield member


def to_text(value: Value, indent: int = 0) -> str:
    """The value as C would initialise it, one member a line; addresses in hex."""
    match value:
        case Number():
            return f"{value.value} /* {value.meaning} */" if value.meaning else str(value.value)
        case Boolean():
            return "true" if value.value else "false"
        case Character():
            return _quoted(chr(value.value & 0xFF), "'")
        case Real():
            return repr(value.value)
        case Text():
            return _quoted(value.value, '"')
        case Pointer():
            return hex(value.value)
        case Label():
            return value.label or str(value.value)
        case Numbers():
            return _listed(map(str, value.values), len(value.values))
        case Items():
            return _listed((to_text(item, indent) for item in value.items), len(value.items))
        case Fields():
            tab = "\t" * (indent + 1)
            lines = [
                f"{tab}.{member.name} = {to_text(member, indent + 1)},\n"
                for member in flat_members(value)
            ]
            meaning = f" /* {value.meaning} */" if value.meaning else ""
            return "{" + meaning + ("\n" + "".join(lines) + tab[1:] if lines else "") + "}"
        case Opaque():
            return f"/* {value.data.hex(' ')} */"
    raise TypeError(f"no text for {type(value).__name__}")


def _listed(texts: Iterable[str], count: int) -> str:
    """Like a C initialiser, with runs of one value told in GNU C's way: `[0 ... 99] = 0`."""
    parts: list[str] = []
    start = 0
    for text, run in groupby(islice(texts, MAX_LISTED)):
        length = sum(1 for _ in run)
        last = start + length - 1
        parts += [f"[{start} ... {last}] = {text}"] if length > 3 else [text] * length
        start += length
    if count > start:
        parts.append(f"/* {count - start} more */")
    return "{" + ", ".join(parts) + "}"


def _quoted(text: str, quote: str) -> str:
    escaped = "".join(
        c if " " <= c < "\x7f" and c not in (quote, "\\") else f"\\x{ord(c):02x}" for c in text
    )
    return f"{quote}{escaped}{quote}"
