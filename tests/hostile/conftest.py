"""A host with something honest on it, and room for what is not."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.hostile.host import Host


@pytest.fixture
def host() -> Iterator[Host]:
    """Skips where it cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Host()
    try:
        yield made
    finally:
        made.close()
