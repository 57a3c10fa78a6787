"""Documents read as strictly as any reader of JSON does, and what stands for bytes in them."""

from __future__ import annotations

import json
import re
from typing import Any

from bpflens.rawtext import REPLACEMENT, whole


def strict(data: bytes) -> Any:
    """The document. Fails for what is not UTF-8, holds a lone surrogate or has a key twice."""
    found = json.loads(data.decode(), object_pairs_hook=_object)
    assert all(map(whole, texts(found)))
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), f"a key that is there twice: {[key for key, _ in pairs]}"
    return found


def texts(value: Any) -> list[str]:
    """Every text anywhere in a document, keys included."""
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []


def replaced(value: Any) -> list[bytes]:
    """The bytes of each text that is shown with U+FFFD. Fails where they do not stand beside it;
    for documents in which nothing is called so that it holds U+FFFD itself."""
    found: list[bytes] = []
    if isinstance(value, list):
        return [data for part in value for data in replaced(part)]
    if not isinstance(value, dict):
        return found
    for key, part in value.items():
        if key.endswith("_hex") and key.removesuffix("_key_hex").removesuffix("_hex") in value:
            continue
        if REPLACEMENT in key:
            found.append(_bytes(re.sub("~[0-9]+$", "", key), value[f"{key}_key_hex"]))
        if _has(part):
            found += _each(part, value[f"{key}_hex"])
        found += replaced(part)
    return found


def _has(value: Any) -> bool:
    """Whether a text, or one in a list, is shown with U+FFFD."""
    if isinstance(value, list):
        return any(map(_has, value))
    return isinstance(value, str) and REPLACEMENT in value


def _each(value: Any, data: Any) -> list[bytes]:
    if isinstance(value, list):
        assert len(value) == len(data)
        pairs = zip(value, data, strict=True)
        return [found for pair in pairs if pair[1] is not None for found in _each(*pair)]
    found = _bytes(value, data)
    return [found] if REPLACEMENT in value else []


def _bytes(text: str, data: str) -> bytes:
    found = bytes.fromhex(data)
    assert found.decode(errors="replace") == text
    return found
