"""The kinds of BTF type, one small immutable class each.

The fields are those of the records in `include/uapi/linux/btf.h`, decoded. A field called `to`,
`ret`, `element`, `index` or `type_id` holds the id of another type, 0 being `void`. Sizes and
offsets are in bytes, unless the name says bits. Types are plain facts: they do not know the `Btf`
they came from, and two of them are equal when all their fields are.
"""

from __future__ import annotations

from operator import itemgetter

TYPE_CHECKING = (
    False  # the `typing` module costs 6 ms of start-up, and only a type checker needs it
)
if TYPE_CHECKING:
    from typing import Any, ClassVar, dataclass_transform

    _Fields = object
else:
    _Fields = tuple

    def dataclass_transform(**_):
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class _RecordMeta(type):
    """Names the places of a tuple by a class's annotations (`dataclasses`, and what `typing` has
    for this, cost 6 to 17 ms of start-up)."""

    def __new__(meta, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _RecordMeta:
        annotations: dict[str, str] = namespace.get("__annotations__", {})
        own = tuple(f for f, kind in annotations.items() if not kind.startswith("ClassVar"))
        inherited = tuple(f for base in bases for f in getattr(base, "fields", ()))
        namespace["__slots__"] = ()
        namespace["fields"] = namespace["__match_args__"] = inherited + own
        for place, field in enumerate(own, len(inherited)):
            namespace[field] = property(itemgetter(place))
        return super().__new__(meta, name, bases, namespace)


class Record(_Fields, metaclass=_RecordMeta):
    """Named fields that are given once, by position or by name, and never change.

    Below, it is a tuple: the kernel's BTF makes 300,000 of these, and nothing is made faster. That
    it is one is nobody's business: it is equal to no plain tuple.
    """

    fields: ClassVar[tuple[str, ...]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != len(cls.fields):
            names = cls.fields
            if len(args) + len(kwargs) != len(names):
                raise TypeError(f"{cls.__name__} takes {', '.join(names)}")
            args += tuple(kwargs[name] for name in names[len(args) :])
        return _new(cls, args)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), _values(self)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and _values(self) == _values(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((type(self), _values(self)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields)
        return f"{type(self).__name__}({shown})"


_new: Any = tuple.__new__
_values: Any = tuple


class Type(Record):
    """Any BTF type; `id` is its number in the `Btf` it came from."""

    id: int


class Void(Type):
    """No type: what id 0 stands for."""


class Int(Type):
    """An integer; `encoding` is a set of `SIGNED`, `CHAR` and `BOOL`.

    `bits` may be fewer than the size holds, and `offset` (in bits) more than 0, in BTF of the
    years 2018 and 2019, which described bit fields so.
    """

    name: str
    size: int
    bits: int
    encoding: int
    offset: int

    SIGNED: ClassVar[int] = 1
    CHAR: ClassVar[int] = 2
    BOOL: ClassVar[int] = 4


class Ptr(Type):
    """A pointer; BTF does not tell its size, see `Btf.pointer_size`."""

    to: int


class Array(Type):
    """`nelems` elements; 0 of them is a flexible array where it ends a struct."""

    element: int
    index: int
    nelems: int


class Member(Record):
    """A field of a struct or union; `bitfield_size` (in bits) is 0 for what is no bit field."""

    name: str
    type_id: int
    bit_offset: int
    bitfield_size: int


class Composite(Type):
    """What structs and unions have in common."""

    name: str
    size: int
    members: tuple[Member, ...]


class Struct(Composite):
    """A struct; `name` is empty for an anonymous one."""


class Union(Composite):
    """A union; `name` is empty for an anonymous one."""


class AnyEnum(Type):
    """What enums of up to 32 and of 64 bits have in common."""

    name: str
    size: int
    signed: bool
    values: tuple[tuple[str, int], ...]


class Enum(AnyEnum):
    """An enumeration whose values fit 32 bits."""


class Enum64(AnyEnum):
    """An enumeration with values of 64 bits. Since: 6.0."""


class Fwd(Type):
    """A struct or union of which only the name is known."""

    name: str
    is_union: bool


class Reference(Type):
    """A type that wraps another and leaves its size as it is."""

    to: int


class Typedef(Type):
    """A name for another type."""

    name: str
    to: int


class Volatile(Reference):
    """`volatile`."""


class Const(Reference):
    """`const`."""


class Restrict(Reference):
    """`restrict`."""


class TypeTag(Type):
    """`__attribute__((btf_type_tag(name)))`, as `__user` and `__rcu`. Since: 5.17."""

    name: str
    to: int


class Func(Type):
    """A function; `type_id` is a `FuncProto`, `linkage` one of `STATIC`, `GLOBAL`, `EXTERN`."""

    name: str
    type_id: int
    linkage: int

    STATIC: ClassVar[int] = 0
    GLOBAL: ClassVar[int] = 1
    EXTERN: ClassVar[int] = 2


class Param(Record):
    """A parameter; the last one is of type `void` and has no name where the rest is variable."""

    name: str
    type_id: int


class FuncProto(Type):
    """A function's result and parameters."""

    ret: int
    params: tuple[Param, ...]


class Var(Type):
    """A global variable; `linkage` is one of `STATIC`, `GLOBAL` and `EXTERN`."""

    name: str
    type_id: int
    linkage: int

    STATIC: ClassVar[int] = 0
    GLOBAL: ClassVar[int] = 1
    EXTERN: ClassVar[int] = 2


class SectionVar(Record):
    """A variable's place in a section; `type_id` is a `Var`, or a `Func` for `extern`."""

    type_id: int
    offset: int
    size: int


class DataSec(Type):
    """An ELF section's variables, as `.data` or `.maps`."""

    name: str
    size: int
    variables: tuple[SectionVar, ...]


class Float(Type):
    """A floating-point number. Since: 5.13."""

    name: str
    size: int


class DeclTag(Type):
    """`__attribute__((btf_decl_tag(name)))` on a declaration. Since: 5.16.

    `component` is the index of the member or parameter that carries it, -1 for the whole.
    """

    name: str
    type_id: int
    component: int


class Unknown(Type):
    """A type of a kind that is newer than this code, passed over as the BTF's layout tells."""

    kind: int


TRANSPARENT = (Typedef, Volatile, Const, Restrict, TypeTag)
"""The kinds that change how a type is called or used, never what its bytes mean."""

KINDS: tuple[type[Type], ...] = (
    Void, Int, Ptr, Array, Struct, Union, Enum, Fwd, Typedef, Volatile, Const, Restrict,
    Func, FuncProto, Var, DataSec, Float, DeclTag, TypeTag, Enum64,
)  # fmt: skip
"""The kinds by their number, `BTF_KIND_*` of `include/uapi/linux/btf.h`."""
