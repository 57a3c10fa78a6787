"""Names for C: each a valid identifier, and no two things of one name space with the same one.

BTF may hold many types of one name, from different source files; C may not. The first keeps the
name, the others get `___2`, `___3` and so on. That is the convention of libbpf
(`btf_dump_resolve_name`); its loader takes the number off again when it looks for a type.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable

_KEYWORDS = {
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum",
    "extern", "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict",
    "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef", "union",
    "unsigned", "void", "volatile", "while", "asm", "typeof", "_Alignas", "_Alignof", "_Atomic",
    "_Bool", "_Complex", "_Generic", "_Imaginary", "_Noreturn", "_Static_assert", "_Thread_local",
    "__int128", "__builtin_va_list", "__va_list_tag", "__alignof__", "__asm__", "__attribute__",
    "__auto_type", "__const", "__extension__", "__inline", "__label__", "__restrict", "__signed__",
    "__thread", "__typeof__", "__volatile__",
}  # fmt: skip
"""Of C, and what compilers define beside them; an identifier must be none of these."""


def identifier(name: str) -> str:
    """The name as C can spell it: `Option<u32>` becomes `Option_u32_`."""
    if not (name.isascii() and name.replace("$", "_").isidentifier()):
        name = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
        name = name if name[:1].isidentifier() else f"_{name}"
    return f"{name}_" if name in _KEYWORDS else name


class NameSpace:
    """Hands out names; the same `owner` gets the same name again."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._names: dict[tuple[Hashable, str], str] = {}
        self._next: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def name(self, wanted: str, owner: Hashable) -> str:
        """The name of `owner`: the one wanted, or one with a number."""
        known = self._names.get((owner, wanted))
        if known is None:
            known = self._names[owner, wanted] = self.new(wanted)
        return known

    def new(self, wanted: str) -> str:
        """A name that nothing else has."""
        base = given = identifier(wanted)
        while given in self._taken:
            number = self._next[base] = self._next.get(base, 1) + 1
            given = f"{base}___{number}"
        self._taken.add(given)
        return given
