"""The suite: which checks there are, and how one is run and judged."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from bpflens.abi.word import Word
from bpflens.errors import SyscallError, strerror
from bpflens.port.calls import Calls, failure
from bpflens.port.memory import Memory
from bpflens.testing import conformance
from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.conformance.differences import BUILT_WITHOUT, difference

F = TypeVar("F", bound=Callable[..., None])
T = TypeVar("T")
W = TypeVar("W", bound=Word)

BAD = 0x1000
"""An address at which no process has memory (vm.mmap_min_addr)."""
CLOSED = 0x7FFF0000
"""An fd that is not open."""


class Check(NamedTuple):
    """One check: a function, and the arguments of one of its cases."""

    name: str
    """`subject.what_is_checked`, with `/case` where there are several."""
    function: Callable[..., None]
    arguments: tuple[Any, ...] = ()

    @property
    def says(self) -> str:
        """The behaviour in a sentence."""
        return inspect.getdoc(self.function) or ""

    def run(self, bench: Bench) -> None:
        """Run it and clean up. Raises what the check raises; NotOffered where it cannot run."""
        parameters = list(inspect.signature(self.function).parameters)
        try:
            self.function(getattr(bench, parameters[0], bench), *self.arguments)
        finally:
            bench.clean()


def cases(**named: Any) -> Callable[[F], F]:
    """Run the decorated check once a case; a value that is no tuple is the only argument."""

    def keep(function: F) -> F:
        function.__cases__ = {  # type: ignore[attr-defined]
            name: value if type(value) is tuple else (value,) for name, value in named.items()
        }
        return function

    return keep


def each(*values: W) -> dict[str, W]:
    """Cases that are called as the kernel calls them."""
    return {value.label: value for value in values}


def checks() -> list[Check]:
    """Every check of the suite: by subject, then in the order of the file."""
    return list(_collect())


def _collect() -> Iterator[Check]:
    for module in pkgutil.iter_modules(conformance.__path__):
        if module.name == "__main__":
            continue
        found = importlib.import_module(f"{conformance.__name__}.{module.name}")
        for name, function in vars(found).items():
            if not name.startswith("check_") or function.__module__ != found.__name__:
                continue
            title = f"{module.name}.{name.removeprefix('check_')}"
            named = getattr(function, "__cases__", None)
            if named is None:
                yield Check(title, function)
            else:
                for case, arguments in named.items():
                    yield Check(f"{title}/{case}", function, arguments)


def judge(check: Check, bench: Bench) -> str:
    """Run a check by the list of differences; the reason if it differs as listed, or if its kernel
    is built without what it is about, else nothing.

    Raises AssertionError where it differs and is not listed, or is listed and does not differ;
    NotOffered where the bench has not what the check needs.
    """
    listed = difference(bench.name, check.name)
    try:
        check.run(bench)
    except NotOffered as missing:
        if bench.name.startswith("linux") and str(missing) in BUILT_WITHOUT:
            return str(missing)
        raise
    except (AssertionError, SyscallError):
        if listed:
            return listed.reason
        raise
    if listed and not listed.fixed_later:
        raise AssertionError(f"{bench.name} no longer differs in {check.name}: {listed.reason}")
    return ""


def fails(code: int, call: Callable[..., object], *arguments: Any, **named: Any) -> None:
    """The call fails with this errno."""
    try:
        result = call(*arguments, **named)
    except SyscallError as error:
        if error.errno != code:
            raise AssertionError(
                f"{error.call} failed with {strerror(error.errno or 0)}, not {strerror(code)}"
            ) from error
    else:
        raise AssertionError(f"gave {result!r} instead of: {strerror(code)}")


def same(got: T, expected: T) -> None:
    """Two values are equal; says both where they are not, also without pytest."""
    if got != expected:
        raise AssertionError(f"got {got!r}, expected {expected!r}")


def raw(calls: Calls, cmd: int, attr: bytes | bytearray, size: int | None = None) -> int:
    """A call with any bytes as attr, which get back what the kernel wrote if they are a bytearray.

    `size` is what the kernel is told; as long as the bytes if not given.
    """
    mem = Memory()
    buffer = attr if isinstance(attr, bytearray) else bytearray(attr)
    try:
        return calls.port.bpf(cmd, mem.pin(buffer), len(buffer) if size is None else size, mem)
    except OSError as error:
        raise failure(cmd, error) from error
