"""BTF that the engine refuses, where a fuzz of it found something else than an errno."""

from __future__ import annotations

import errno

import pytest

from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import DeclTag, Func
from bpflens.engine import Engine
from bpflens.errors import SyscallError
from bpflens.port.calls import Calls


@pytest.mark.parametrize("proto", [0, 1, 99])
def test_a_tag_before_a_function_that_has_no_prototype(proto: int) -> None:
    built = BtfBuilder()
    built.add_int("int", 4)
    built.add(DeclTag(0, "tag", 3, 0))
    built.add(Func(0, "f", proto, 0))
    with pytest.raises(SyscallError) as caught:
        Calls(Engine().task()).btf_load(built.build())
    assert caught.value.errno == errno.EINVAL
