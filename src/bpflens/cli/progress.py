"""A progress line for what takes long: on stderr, and only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 0.5
"""Seconds after which a person wants to see that something happens."""
INTERVAL = 0.1
STRIDE = 256


def progress(items: Iterable[T], most: int) -> Iterator[T]:
    """The same items; tells how many of at most `most` have passed."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        # On one terminal the line would stand among the data, which shows progress by itself.
        yield from items
        return
    due = time.monotonic() + PATIENCE
    shown = False
    try:
        for at, item in enumerate(items, 1):
            if at % STRIDE == 0 and time.monotonic() >= due:
                due = time.monotonic() + INTERVAL
                shown = True
                print(f"\r{at:,} elements (at most {most:,})", end="", file=sys.stderr, flush=True)
            yield item
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
