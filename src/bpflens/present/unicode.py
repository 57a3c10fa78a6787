"""What a document has in place of text that is not valid Unicode.

Bytes that are not UTF-8 are shown as U+FFFD, and in the object that the text is in they stand
beside it, in hex: those of a text at KEY under KEY_hex, of a list in which such a text is a list of
all of them, of KEY itself under KEY_key_hex. A key that is taken goes on with ~2, ~3. A document
that is one value alone has no object, and no bytes.
"""

from __future__ import annotations

from typing import Any

from bpflens.rawtext import raw, shown, whole


def unicode(value: Any) -> Any:
    """The value with valid Unicode alone."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return _object(value)
    if isinstance(value, list | tuple):
        return [unicode(part) for part in value]
    return value


def _object(parts: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    taken = {key for key in parts if not isinstance(key, str) or whole(key)}

    last: dict[str, int] = {}

    def put(key: str, value: Any) -> str:
        free = key
        while free in taken:
            last[key] = last.get(key, 1) + 1
            free = f"{key}~{last[key]}"
        taken.add(free)
        found[free] = value
        return free

    for key, part in parts.items():
        if key in taken:
            found[key] = unicode(part)
            name = str(key)
        else:
            name = put(shown(key), unicode(part))
            put(f"{name}_key_hex", raw(key).hex())
        if (data := _hex(part)) is not None:
            put(f"{name}_hex", data)
    return found


def _hex(value: Any) -> Any:
    """The bytes of a text that is not valid Unicode, or of all texts in a list with such a text,
    each in its place; None where there is none."""
    if isinstance(value, str):
        return None if whole(value) else raw(value).hex()
    if not isinstance(value, list | tuple):
        return None
    parts = [_hex(part) for part in value]
    if all(part is None for part in parts):
        return None
    pairs = zip(value, parts, strict=True)
    return [raw(part).hex() if isinstance(part, str) else data for part, data in pairs]
