"""BTF read from bytes: an index of where each type is, and the types themselves when asked for.

The layout is that of `Documentation/bpf/btf.rst`: a header, a section of type records that follow
one another, each some 32-bit words long, and a section of NUL-terminated strings. A type's id is
its place in the sequence, so the one walk over all records that an index needs cannot be avoided;
everything else can wait. Both byte orders are read, the header's magic number tells which.
"""

from __future__ import annotations

import sys

from bpflens import limits
from bpflens.btf import types as t
from bpflens.btf.header import read_header
from bpflens.btf.records import HEAD, RecordWords, as_words, decode, kind_number, words_in
from bpflens.errors import FormatError, TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal, TypeVar

    T = TypeVar("T", bound=t.Type)

MAX_TYPES = 0x000FFFFF
"""`BTF_MAX_TYPE`; the kernel takes no more either."""


class Btf:
    """The types of a kernel, a module or a program; `btf[id]` is one of them.

    `len(btf)` counts every type with `void` and, for split BTF, those of its base, so that ids
    are `0 … len(btf) - 1`. All methods raise `FormatError` for bytes that do not make sense,
    never anything else; asking for an id that does not exist is such a case.
    """

    base: Btf | None
    byteorder: Literal["little", "big"]
    size: int
    """Of the file, and of its base's, in bytes."""

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        base: Btf | None = None,
        index: tuple[memoryview, memoryview] | None = None,
    ) -> None:
        view = memoryview(data).cast("B")
        self.base = base
        self.size = len(view) + (base.size if base else 0)
        header = read_header(view)
        self.byteorder = header.byteorder
        self._types_at, self._strings_at = header.types_at, header.strings_at
        self._strings = bytes(view[self._strings_at : self._strings_at + header.strings_len])
        if self._strings[-1:] not in (b"\0", b"") or not (self._strings or base):
            raise FormatError("string section does not end with NUL", self._strings_at)
        types = view[self._types_at : self._types_at + header.types_len]
        self._words = words_in(types, header.byteorder)
        self._record_words = RecordWords(header.layout)
        self._first_id = len(base) if base else 1
        self._first_string = base.string_end if base else 0
        if index is None:
            index = self._walk()
        self._positions, self._name_offsets = index
        self._types: dict[int, t.Type] = {}
        self._tags: dict[tuple[int, int], tuple[str, ...]] | None = None
        self._alignments: dict[int, int] = {}
        self._pointer_size = 0
        self.cut = False
        """Whether `text` has given the beginning of a longer string."""
        self._used: frozenset[int] = frozenset()
        """The offsets of all names of types, once that was worth it."""

    @property
    def index(self) -> tuple[memoryview, memoryview]:
        """Where each own record begins, in words, and the name offset there: for `btf.cache`."""
        return self._positions, self._name_offsets

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview, base: Btf | None = None) -> Btf:
        """The types in `data`, indexed; `base` is what split BTF continues.

        Of each record only the length is looked at, so a bad one may be found later, when it is
        asked for. Raises FormatError.
        """
        return cls(data, base)

    def _walk(self) -> tuple[memoryview, memoryview]:
        """Where each record begins, in words, and the name offset it begins with."""
        words = self._words
        end = len(words)
        words_of = self._record_words
        positions: list[int] = []
        add = positions.append
        at = 0
        try:
            while at < end:
                add(at)
                at += words_of[words[at + 1]]
        except LookupError as problem:
            what = "type cut short" if at + 1 >= end else f"type of unknown kind {problem}"
            raise FormatError(what, self._offset(at)) from problem
        if at > end:
            raise FormatError("last type cut short", self._offset(positions[-1]))
        if self._first_id + len(positions) > MAX_TYPES:
            raise FormatError(f"more than {MAX_TYPES} types", self._types_at)
        return as_words(positions), as_words([words[at] for at in positions])

    def _offset(self, word: int) -> int:
        """The offset in the file, in bytes, of a word of the type section."""
        return self._types_at + 4 * word

    # Names

    @property
    def string_end(self) -> int:
        """The offset of the first string of BTF that is split from this one."""
        return self._first_string + len(self._strings)

    def name(self, off: int) -> str:
        """The string at an offset into the string section; bytes that are not UTF-8 as PEP 383 has
        them (`bpflens.rawtext`)."""
        if off < self._first_string and self.base:
            return self.base.name(off)
        start = off - self._first_string
        longest = limits.BTF_NAME_BYTES
        end = self._strings.find(b"\0", start, start + longest.value + 1) if start >= 0 else -1
        if end < 0:
            self._string(off, 0)  # raises for an offset that is out of bounds
            raise TooLarge(str(longest), self._strings_at + start)
        return self._strings[start:end].decode("utf-8", "surrogateescape")

    def text(self, off: int) -> str:
        """Like `name`, but of a longer string the beginning, after which `cut` is true: source
        lines may have any length."""
        longest = limits.SOURCE_BYTES.value
        found = self._string(off, longest)
        self.cut = self.cut or len(found) > longest
        end = min(len(found), longest)
        while len(found) > end > longest - 3 and found[end] & 0xC0 == 0x80:
            end -= 1  # what is cut off begins with the rest of a character
        return found[:end].decode("utf-8", "surrogateescape")

    def _string(self, off: int, longest: int) -> bytes:
        """The bytes at an offset up to the NUL, but no more than `longest`, and one."""
        if off < self._first_string and self.base:
            return self.base._string(off, longest)
        start = off - self._first_string
        if not 0 <= start < len(self._strings):
            raise FormatError(f"no string at {off}", self._strings_at + len(self._strings))
        end = self._strings.find(b"\0", start, start + longest + 1)
        return self._strings[start : end if end >= 0 else start + longest + 1]

    def type_name(self, type_id: int) -> str:
        """A type's name, "" where it has none, without building the type."""
        if type_id < self._first_id and self.base:
            return self.base.type_name(type_id)
        if type_id == 0:
            return ""
        return self.name(self._words_of(type_id, self._position(type_id), 1)[0])

    def find(self, name: str, kind: type[T]) -> T | None:
        """The first type of that name and kind; kind `Type` takes any."""
        for type_id in self._ids_named(name):
            found = self[type_id]
            if isinstance(found, kind):
                return found
        return None

    def find_all(self, name: str) -> list[t.Type]:
        """Every type of that name, by ascending id."""
        return [self[type_id] for type_id in self._ids_named(name)]

    def _ids_named(self, name: str) -> Iterable[int]:
        """The string section is its own index of names, searched at the speed of `bytes.find`."""
        if not name or "\0" in name:
            return
        wanted = set(self._string_offsets(name.encode(errors="surrogateescape") + b"\0"))
        if self.base:
            yield from self.base._ids_named(name)
        for at in self._places_of(wanted):
            if self.type_name(self._first_id + at) == name:
                yield self._first_id + at

    def _places_of(self, wanted: set[int]) -> Iterable[int]:
        """Where the offsets stand in `_name_offsets`, in ascending order."""
        if len(wanted) > 16:  # many strings end with the name: few of them are a type's
            self._used = self._used or frozenset(self._name_offsets)
            wanted = wanted & self._used
        if len(wanted) > 16:
            return [at for at, offset in enumerate(self._name_offsets) if offset in wanted]
        offsets, words = self._name_offsets, self._name_offsets.tobytes()
        found: list[int] = []
        for offset in wanted:
            # Little-endian words all end with 0, which would make the search slower.
            word = offset.to_bytes(4, sys.byteorder)[: 3 if sys.byteorder == "little" else 4]
            at = words.find(word)
            while at >= 0:
                if at % 4 == 0 and offsets[at // 4] == offset:
                    found.append(at // 4)
                at = words.find(word, at + 1)
        return sorted(found)

    def _string_offsets(self, name: bytes) -> Iterable[int]:
        """Every offset that reads as `name`; BTF may refer to the tail of a longer string."""
        if self.base:
            yield from self.base._string_offsets(name)
        at = self._strings.find(name)
        while at >= 0:
            yield self._first_string + at
            at = self._strings.find(name, at + 1)

    # Types

    def __len__(self) -> int:
        return self._first_id + len(self._positions)

    def ids(self) -> range:
        """The ids of this BTF's own types: without `void`, and without those of its base."""
        return range(self._first_id, len(self))

    def ids_of(self, kind: type[t.Type]) -> Iterator[int]:
        """The ids of a kind, base included; found without building the types."""
        if self.base:
            yield from self.base.ids_of(kind)
        number = t.KINDS.index(kind)
        words = self._words
        try:
            for type_id, at in enumerate(self._positions, self._first_id):
                if kind_number(words[at + 1]) == number:
                    yield type_id
        except IndexError as problem:
            raise FormatError(f"type [{type_id}] cut short", self._offset(at)) from problem

    def tags(self, type_id: int, component: int = -1) -> tuple[str, ...]:
        """The declaration tags of a type, or of its member or parameter number `component`."""
        if self._tags is None:
            found: dict[tuple[int, int], list[str]] = {}
            for tag in map(self.__getitem__, self.ids_of(t.DeclTag)):
                if isinstance(tag, t.DeclTag):
                    found.setdefault((tag.type_id, tag.component), []).append(tag.name)
            self._tags = {key: tuple(names) for key, names in found.items()}
        return self._tags.get((type_id, component), ())

    def __getitem__(self, type_id: int) -> t.Type:
        """The type of that id; made when first asked for, and kept."""
        found = self._types.get(type_id)
        if found is not None:
            return found
        if type_id < self._first_id and self.base:
            return self.base[type_id]
        found = self._types[type_id] = self._build(type_id) if type_id else t.Void(0)
        return found

    def each(self, type_ids: Iterable[int]) -> Iterator[t.Type]:
        """The types of these ids in turn; not kept, for who asks for very many once."""
        for type_id in type_ids:
            yield self._build(type_id) if type_id >= self._first_id else self[type_id]

    def _position(self, type_id: int) -> int:
        """Where a type's record begins, in words."""
        if not self._first_id <= type_id < len(self):
            raise FormatError(f"no type [{type_id}]", self._offset(len(self._words)))
        return self._positions[type_id - self._first_id]

    def _words_of(self, type_id: int, at: int, count: int) -> memoryview:
        """`count` words; checked, because positions may come from a file and not from a walk."""
        words = self._words[at : at + count]
        if len(words) != count:
            raise FormatError(f"type [{type_id}] cut short", self._offset(at))
        return words

    def kind(self, type_id: int) -> type[t.Type]:
        """The class of `btf[type_id]`, told without building the type."""
        if type_id < self._first_id and self.base:
            return self.base.kind(type_id)
        if type_id == 0:
            return t.Void
        number = kind_number(self._words_of(type_id, self._position(type_id), HEAD)[1])
        return t.KINDS[number] if number < len(t.KINDS) else t.Unknown

    def _build(self, type_id: int) -> t.Type:
        at = self._position(type_id)
        info = self._words_of(type_id, at, HEAD)[1]
        try:
            length = self._record_words[info]
        except LookupError as problem:
            raise FormatError(f"type of unknown kind {problem}", self._offset(at)) from problem
        return decode(type_id, self._words_of(type_id, at, length).tolist(), self.name)

    # Sizes

    @property
    def pointer_size(self) -> int:
        """In bytes; BTF tells it only by the size of its `long`, where it has one, else it is 8."""
        if self.base:
            return self.base.pointer_size
        if not self._pointer_size:
            longs = (self.find(name, t.Int) for name in ("long int", "long unsigned int", "long"))
            size = next((found.size for found in longs if found), 8)
            self._pointer_size = 4 if size == 4 else 8
        return self._pointer_size

    def strip(self, type_id: int) -> t.Type:
        """The type under typedefs, `const`, `volatile`, `restrict` and type tags."""
        for _ in range(limits.BTF_DEPTH.value):
            found = self[type_id]
            if not isinstance(found, t.TRANSPARENT):
                return found
            type_id = found.to
        raise self._too_deep(type_id)

    def sizeof(self, type_id: int) -> int:
        """A type's size in bytes; FormatError for what has none, as functions and `void`."""
        count = 1
        for _ in range(limits.BTF_DEPTH.value):
            found = self.strip(type_id)
            if isinstance(found, t.Array):
                count *= found.nelems
                type_id = found.element
            elif isinstance(found, t.Ptr):
                return count * self.pointer_size
            elif isinstance(found, t.Var):
                type_id = found.type_id
            elif isinstance(found, (t.Int, t.Composite, t.AnyEnum, t.Float, t.DataSec)):
                return count * found.size
            else:
                kind = type(found).__name__
                raise FormatError(f"{kind} [{type_id}] has no size", self.offset_of(type_id))
        raise self._too_deep(type_id)

    def alignof(self, type_id: int, depth: int = 0) -> int:
        """A type's alignment in bytes, as far as BTF lets one infer it.

        A struct whose size or member offsets could not be so without `packed` is taken as packed,
        that is, aligned to 1 (`btf__align_of` of libbpf does the same). Raises FormatError.
        """
        known = self._alignments.get(type_id)
        if known is None:
            if depth > limits.BTF_DEPTH.value:
                raise self._too_deep(type_id)
            known = self._alignments[type_id] = self._align(type_id, depth + 1)
        return known

    def _align(self, type_id: int, depth: int) -> int:
        found = self.strip(type_id)
        if isinstance(found, t.Array):
            return self.alignof(found.element, depth)
        if isinstance(found, t.Var):
            return self.alignof(found.type_id, depth)
        if isinstance(found, t.Composite):
            largest = 1
            for member in found.members:
                align = self.alignof(member.type_id, depth)
                if self._out_of_place(member, align):
                    return 1
                largest = max(largest, align)
            return 1 if found.size % largest else largest
        size = self.sizeof(found.id)
        natural = size & -size or 1
        return natural if self.pointer_size == 8 else min(natural, self.pointer_size)

    def place(self, member: t.Member) -> t.Member:
        """The member with its place told in the way of today.

        BTF of 2018 and 2019 told a bit field by an integer type of fewer bits than its size holds.
        """
        if not member.bitfield_size:
            found = self.strip(member.type_id)
            if isinstance(found, t.Int) and (found.offset or found.bits != 8 * found.size):
                offset = member.bit_offset + found.offset
                return t.Member(member.name, member.type_id, offset, found.bits)
        return member

    def _out_of_place(self, member: t.Member, align: int) -> bool:
        """Whether a compiler would put the member elsewhere, were its struct not packed."""
        member = self.place(member)
        if member.bitfield_size:
            unit = 8 * self.sizeof(member.type_id) or 1
            last = member.bit_offset + member.bitfield_size - 1
            return member.bit_offset // unit != last // unit
        return member.bit_offset % (8 * align) != 0

    def offset_of(self, type_id: int) -> int:
        """The offset of a type's record in the file that it is in, in bytes."""
        if type_id < self._first_id:
            return self.base.offset_of(type_id) if self.base else 0
        return self._offset(self._position(type_id))

    def _too_deep(self, type_id: int) -> FormatError:
        return TooLarge(f"type [{type_id}] {limits.BTF_DEPTH}", self.offset_of(type_id))
