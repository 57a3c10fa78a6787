"""Types as people name them, `struct stats` or `stats_t`, and what they need."""

from __future__ import annotations

from collections.abc import Iterable

from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf.references import references
from bpflens.errors import NotFound
from bpflens.rawtext import REPLACEMENT, means

_KEYWORDS: dict[str, tuple[type[t.Type], ...]] = {
    "struct": (t.Struct,),
    "union": (t.Union,),
    "enum": (t.AnyEnum,),
}


def find(btf: Btf, name: str) -> list[t.Type]:
    """Every type of that name; with `struct`, `union` or `enum` before it those alone.

    Forward declarations are left out where the type itself is there. A name may be given as
    documents show it (`bpflens.rawtext`). Raises NotFound.
    """
    word, _, rest = name.strip().partition(" ")
    kinds = _KEYWORDS.get(word)
    given = rest.strip() if kinds else name.strip()
    found = btf.find_all(given)
    if REPLACEMENT in given:
        found = [btf[id] for id in range(1, len(btf)) if means(given, btf.type_name(id))]
    if kinds:
        found = [one for one in found if isinstance(one, kinds)]
    whole = [one for one in found if not isinstance(one, t.Fwd | t.DeclTag | t.TypeTag)]
    if not (whole or found):
        raise NotFound(f"there is no type {name!r}")
    return whole or found


def closure(btf: Btf, ids: Iterable[int]) -> set[int]:
    """The ids of these types and of all that they refer to, directly or not."""
    seen: set[int] = set()
    waiting = [*ids]
    while waiting:
        id = waiting.pop()
        if id and id not in seen:
            seen.add(id)
            waiting += references(btf[id])
    return seen
