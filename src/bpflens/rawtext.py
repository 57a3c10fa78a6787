"""Text that came as bytes: names, paths and values, of which nothing says that they are UTF-8.

Inside, bytes that are not UTF-8 are lone surrogates (PEP 383, `errors="surrogateescape"`), so that
every text leads back to its bytes. No document may hold a lone surrogate (RFC 8259, 8.2: readers
refuse it, or the whole document): there it is U+FFFD, and the bytes stand beside it.
"""

from __future__ import annotations

REPLACEMENT = "\ufffd"


def decoded(data: bytes) -> str:
    """The text that bytes are, each byte that is not UTF-8 as a lone surrogate."""
    return data.decode(errors="surrogateescape")


def raw(text: str) -> bytes:
    """The bytes that a text came as."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        # A surrogate that stands for no byte, as "\ud800" in a recording or a condition.
        return b"".join(
            char.encode(
                errors="surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
            )
            for char in text
        )


def whole(text: str) -> bool:
    """Whether a text is valid Unicode: no lone surrogate is in it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(text: str) -> str:
    """The text as documents have it: valid Unicode, U+FFFD for bytes that are not UTF-8."""
    return text if whole(text) else raw(text).decode(errors="replace")


def means(given: str, name: str) -> bool:
    """Whether `given` names what is called `name`: by its very bytes, or as documents show it."""
    return given == name or (REPLACEMENT in given and given == shown(name))
