"""Keys as people type them."""

from __future__ import annotations

import sys

from bpflens.errors import UsageError

FORMS = "a number (12, 0xff), or its bytes in order (hex:0c000000)"


def key_bytes(text: str | None, size: int, what: str = "key") -> bytes:
    """The bytes of a key, or of what `what` says, of `size` bytes. Raises UsageError.

    A number is in native byte order.
    """
    if text is None or size == 0:
        if text is None and size == 0:
            return b""
        missing = "has no keys: give none" if size == 0 else f"needs a key: give {FORMS}"
        raise UsageError(f"this map {missing}")
    if text.startswith("hex:"):
        try:
            data = bytes.fromhex(text[4:].replace(":", " "))
        except ValueError as error:
            words = "give two hexadecimal digits for each byte"
            raise UsageError(f"{text!r} is no {what}: {words}") from error
        if len(data) != size:
            raise UsageError(f"{text!r} has {len(data)} bytes; the map's {what}s have {size}")
        return data
    try:
        number = int(text, 0)
        return number.to_bytes(size, sys.byteorder, signed=number < 0)
    except ValueError as error:
        raise UsageError(f"{text!r} is no {what}: give {FORMS}") from error
    except OverflowError as error:
        raise UsageError(f"{text} does not fit a {what} of {size} bytes") from error
