"""Types as C spells them: a declaration is written around the name, from the inside out."""

from __future__ import annotations

from bpflens import limits
from bpflens.btf import types as t
from bpflens.btf.names import identifier
from bpflens.btf.references import references
from bpflens.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.btf.parse import Btf

_C_NUMBERS = {
    "char", "short", "int", "long", "signed", "unsigned", "_Bool", "__int128", "float", "double",
    "_Complex",
}  # fmt: skip
_BY_SIZE = {1: "char", 2: "short", 4: "int", 8: "long long", 16: "__int128"}
_FLOAT_BY_SIZE = {2: "_Float16", 4: "float", 8: "double", 16: "long double"}


def spell(btf: Btf, type_id: int, name: str = "") -> str:
    """One type as C spells it, such as `struct bpf_map *[4]`; with a name, a declaration.

    What has no name is shown as `struct {...}`. Raises FormatError.
    """
    return Speller(btf).declaration(type_id, identifier(name) if name else "")


class Speller:
    """Spells types; who knows more about their names and content overrides how these are told."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        # What has no name is written again wherever it is used, so that a few bytes of BTF can ask
        # for more text than there is memory. Real BTF gives a text shorter than itself.
        self._budget = 500_000 + 16 * btf.size

    def declaration(self, type_id: int, inner: str, depth: int = 0) -> str:
        """`inner` with the type around it; `const` waits until its place is known."""
        qualifiers = tags = ""
        while True:
            depth += 1
            self.spend(8, type_id)
            self.check_depth(type_id, depth)
            found = self.btf[type_id]
            match found:
                case t.Const() | t.Volatile() | t.Restrict():
                    word = type(found).__name__.lower() + " "
                    qualifiers += word if word not in qualifiers else ""
                case t.TypeTag():
                    tags += f'__attribute__((btf_type_tag("{_quoted(found.name)}"))) '
                case t.Ptr():
                    inner = f"*{tags}{qualifiers}{inner}"
                    qualifiers = tags = ""
                case t.Array():
                    inner = f"{_bracketed(inner)}[{found.nelems}]"
                case t.FuncProto():
                    inner = f"{_bracketed(inner)}({self.parameters(found.params, depth)})"
                    qualifiers = tags = ""
                case _:
                    base = qualifiers.replace("restrict ", "") + self.base(found, depth)
                    text = f"{base} {tags}{inner}".rstrip()
                    self.spend(len(text), type_id)
                    return text
            type_id = references(found)[0]

    def check_depth(self, type_id: int, depth: int) -> None:
        """Raises FormatError for types nested too deep."""
        if depth > limits.BTF_DEPTH.value:
            raise FormatError(f"type [{type_id}] nests too deep", self.btf.offset_of(type_id))

    def spend(self, characters: int, type_id: int) -> None:
        """Counts what is written, and stops what would not end."""
        self._budget -= characters
        if self._budget < 0:
            raise FormatError("types repeat too often", self.btf.offset_of(type_id))

    def parameters(self, params: Sequence[t.Param], depth: int) -> str:
        """What stands between the parentheses of a function."""
        if not params:
            return "void"
        if len(params) == 1 and params[0] == t.Param("", 0):
            return ""
        texts = [
            "..." if param == t.Param("", 0) and param is params[-1]
            else self.declaration(param.type_id, self.parameter_name(param.name), depth)
            for param in params
        ]  # fmt: skip
        return ", ".join(texts)

    def parameter_name(self, name: str) -> str:
        """The name of a parameter, "" for none."""
        return identifier(name) if name else ""

    def base(self, found: t.Type, depth: int) -> str:
        """The words that a declaration begins with."""
        match found:
            case t.Void():
                return "void"
            case t.Int():
                return _integer(found)
            case t.Float():
                known = found.name and _C_NUMBERS.issuperset(found.name.split())
                return found.name if known else _FLOAT_BY_SIZE.get(found.size, "double")
            case t.Typedef():
                return self.type_name(found)
            case t.Composite() | t.AnyEnum() | t.Fwd():
                return f"{keyword(found)} {self.tag(found, depth)}"
        kind = type(found).__name__
        raise FormatError(f"{kind} [{found.id}] is no type", self.btf.offset_of(found.id))

    def type_name(self, found: t.Typedef) -> str:
        """The name of a typedef."""
        return identifier(found.name)

    def tag(self, found: t.Composite | t.AnyEnum | t.Fwd, depth: int) -> str:
        """What follows `struct`, `union` or `enum`."""
        return identifier(found.name) if found.name else "{...}"


def keyword(found: t.Composite | t.AnyEnum | t.Fwd) -> str:
    """`struct`, `union` or `enum`."""
    if isinstance(found, t.AnyEnum):
        return "enum"
    return "union" if isinstance(found, t.Union) or getattr(found, "is_union", False) else "struct"


def _bracketed(inner: str) -> str:
    return f"({inner})" if inner.startswith("*") else inner


def _quoted(text: str) -> str:
    """For a string literal of C."""
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "?" for c in text)


def _integer(found: t.Int) -> str:
    """The name, where C has a type of that name (Rust's `u8` is none), else what is of its size."""
    if found.name and _C_NUMBERS.issuperset(found.name.split()):
        return found.name
    if found.encoding & t.Int.BOOL and found.size == 1:
        return "_Bool"
    size = next((size for size in _BY_SIZE if size >= found.size), 16)
    return f"{'signed' if found.encoding & t.Int.SIGNED else 'unsigned'} {_BY_SIZE[size]}"
