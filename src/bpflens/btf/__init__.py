"""BTF, the debug information of BPF: types read, shown as C, and used to read values.

`Btf` and the kinds of type are here. The rest is imported by those who need it, so that a program
which only wants a name pays for no more:

- `ext`: functions, source lines and relocations of instructions
- `spell`, `declare`: a type as C spells it; declarations that a compiler takes
- `render`, `value`: bytes read by their type, as a tree; the tree as JSON and as text
- `edit`: one field of a value found by its path and changed
- `specialfields`: what of a value the kernel keeps to itself: locks, timers, lists
- `build`: BTF written, or a part of it copied
- `cache`: the index of a large BTF kept in a file
"""

from bpflens.btf.parse import Btf
from bpflens.btf.types import Type

__all__ = ["Btf", "Type"]
