"""A function's declaration on one line, as bpftool writes it above the function's instructions."""

from __future__ import annotations

from typing import Any, Protocol

LONGEST = 1023
DEEPEST = 64


class Types(Protocol):
    """What is needed of a program's BTF: types by id, their classes named after the BTF kinds.

    `bpflens.btf.Btf` is one. This room stands beside that one and so does not import it.
    """

    def __getitem__(self, type_id: int, /) -> Any: ...


class _NoWords(Exception):
    """A kind that bpftool has no words for, or a declaration too long for its buffer."""


def prototype(types: Types, type_id: int) -> str:
    """The declaration of function `type_id`; "" where bpftool prints none.

    Follows btf_dumper_type_only() in tools/bpf/bpftool/btf_dumper.c, which gives up above 1023
    characters and at type tags. Raises what `types` raises for a bad id (FormatError).
    """
    words: list[str] = []
    try:
        _write(types, type_id, words, 0)
    except _NoWords:
        return ""
    declared = "".join(words)
    return declared if len(declared.encode(errors="surrogateescape")) <= LONGEST else ""


_NAMED = {"Int": "", "Typedef": "", "Float": "", "Struct": "struct ", "Union": "union "} | {
    "Enum": "enum ",
    "Enum64": "enum ",
}
_QUALIFIERS = {"Volatile": "volatile ", "Const": "const ", "Restrict": "restrict "}


def _write(types: Types, type_id: int, words: list[str], depth: int) -> None:
    if depth > DEEPEST or len(words) > LONGEST:
        raise _NoWords
    if not type_id:
        words.append("void ")
        return
    type = types[type_id]
    kind = type.__class__.__name__
    if kind in _NAMED:
        words.append(f"{_NAMED[kind]}{type.name} ")
    elif kind in _QUALIFIERS:
        words.append(_QUALIFIERS[kind])
        _write(types, type.to, words, depth + 1)
    elif kind == "Ptr":
        _write(types, type.to, words, depth + 1)
        words.append("* ")
    elif kind == "Array":
        _write(types, type.element, words, depth + 1)
        words.append(f"[{type.nelems}]")
    elif kind == "Fwd":
        words.append(f"{'union' if type.is_union else 'struct'} {type.name} ")
    elif kind == "Func":
        _write_function(types, types[type.type_id], type.name, words, depth + 1)
    elif kind == "FuncProto":
        _write_function(types, type, "", words, depth + 1)
    else:
        raise _NoWords


def _write_function(types: Types, proto: Any, name: str, words: list[str], depth: int) -> None:
    if proto.__class__.__name__ != "FuncProto":
        raise _NoWords
    _write(types, proto.ret, words, depth)
    words.append(f"{name}(")
    for position, param in enumerate(proto.params):
        if position:
            words.append(", ")
        if param.type_id:
            _write(types, param.type_id, words, depth)
            words.append(param.name)
        else:
            words.append("...")
    words.append(")")
