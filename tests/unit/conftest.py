"""Makes `tests.unit.scripted` importable: the tests are no installed package."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

# How long an example takes says nothing on a machine that has other work.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
