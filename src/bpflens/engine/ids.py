"""IDs: a cyclic allocator over 1 … 0x7ffffffe, as idr_alloc_cyclic() gives them out.

The tree is the idea of the kernel's own idr (lib/idr.c over lib/xarray.c): words of bits, and
above them words that say which words below hold anything, and which are full. So allocate, find,
next and remove look at three words whether ten objects live or ten million.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

FIRST = 1
LAST = 0x7FFFFFFE
"""idr_alloc_cyclic(…, 1, INT_MAX): the end is not given out."""

_BITS = 10
_MASK = (1 << _BITS) - 1
_FULL = (1 << (1 << _BITS)) - 1


def _lowest(word: int) -> int:
    return (word & -word).bit_length() - 1


class _Level:
    """Sparse words of 1024 bits."""

    __slots__ = ("words",)

    def __init__(self) -> None:
        self.words: dict[int, int] = {}

    def set(self, bit: int) -> int:
        """Set a bit and return the word that it is in."""
        at = bit >> _BITS
        word = self.words[at] = self.words.get(at, 0) | 1 << (bit & _MASK)
        return word

    def clear(self, bit: int) -> int:
        """Clear a bit and return what is left of its word."""
        at = bit >> _BITS
        word = self.words.get(at, 0) & ~(1 << (bit & _MASK))
        if word:
            self.words[at] = word
        else:
            self.words.pop(at, None)
        return word

    def next_set(self, bit: int) -> int:
        """The first set bit from `bit` on in its word; -1 if there is none."""
        word = self.words.get(bit >> _BITS, 0) >> (bit & _MASK)
        return bit + _lowest(word) if word else -1

    def next_clear(self, bit: int) -> int:
        """The first clear bit from `bit` on in its word; -1 if there is none."""
        word = (self.words.get(bit >> _BITS, 0) ^ _FULL) >> (bit & _MASK)
        return bit + _lowest(word) if word else -1


class Bits:
    """A set of numbers below 2^30 and a bit, which knows what comes next and what is missing."""

    __slots__ = ("_full", "_some")

    def __init__(self) -> None:
        # Level 0 of `some` has a bit for each number, level 1 one for each word below, and so on.
        self._some = (_Level(), _Level(), _Level())
        self._full = (_Level(), _Level())

    def add(self, number: int) -> None:
        """Put a number in."""
        bit = number
        word = self._some[0].set(bit)
        for some in self._some[1:]:
            bit >>= _BITS
            some.set(bit)
        bit = number
        for full in self._full:
            if word != _FULL:
                return
            bit >>= _BITS
            word = full.set(bit)

    def remove(self, number: int) -> None:
        """Take a number out."""
        bit = number
        for some in self._some:
            if some.clear(bit):
                break
            bit >>= _BITS
        bit = number >> _BITS
        for full in self._full:
            if not full.words.get(bit >> _BITS, 0) >> (bit & _MASK) & 1:
                break
            full.clear(bit)
            bit >>= _BITS

    def next(self, number: int) -> int:
        """The smallest member from `number` on; -1 if there is none."""
        found = self._some[0].next_set(number)
        level = 0
        while found < 0:
            level += 1
            if level == len(self._some):
                return self._beyond(number)
            number = (number >> _BITS) + 1
            found = self._some[level].next_set(number)
        while level:
            level -= 1
            found = self._some[level].next_set(found << _BITS)
        return found

    def _beyond(self, number: int) -> int:
        """The same for the words above the highest level, of which there are few."""
        later = [at for at in self._some[2].words if at > number >> _BITS]
        if not later:
            return -1
        found = self._some[2].next_set(min(later) << _BITS)
        found = self._some[1].next_set(found << _BITS)
        return self._some[0].next_set(found << _BITS)

    def next_free(self, number: int) -> int:
        """The smallest number from `number` on that is not a member."""
        levels = (self._some[0], *self._full)
        found = levels[0].next_clear(number)
        level = 0
        while found < 0:
            level += 1
            if level == len(levels):
                return self.next_free((number >> _BITS) + 1 << 3 * _BITS)
            number = (number >> _BITS) + 1
            found = levels[level].next_clear(number)
        while level:
            level -= 1
            found = levels[level].next_clear(found << _BITS)
        return found


class Idr(Generic[T]):
    """Objects by ID. `last` is the ID given out last: the next search starts after it."""

    __slots__ = ("_used", "last", "objects")

    def __init__(self) -> None:
        self.objects: dict[int, T] = {}
        self.last = 0
        self._used = Bits()

    def __len__(self) -> int:
        return len(self.objects)

    def get(self, id: int) -> T | None:
        """The object with this ID, or None."""
        return self.objects.get(id)

    def allocate(self, obj: T) -> int:
        """Give `obj` the next free ID after the last one; past the end it goes on from 1."""
        id = self._used.next_free(self.last + 1)
        if id > LAST:
            id = self._used.next_free(FIRST)
            if id > LAST:
                raise OverflowError("all IDs are in use")
        self.objects[id] = obj
        self.last = id
        self._used.add(id)
        return id

    def remove(self, id: int) -> None:
        """Free an ID."""
        del self.objects[id]
        self._used.remove(id)

    def after(self, id: int) -> int:
        """The smallest live ID above `id`; 0 if there is none. idr_get_next()."""
        return max(self._used.next(id + 1), 0)
