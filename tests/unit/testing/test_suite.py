"""The suite itself: what a check may look like, and how one is judged."""

from __future__ import annotations

import errno
import inspect
from fnmatch import fnmatchcase

import pytest

from bpflens.errors import SyscallError
from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.conformance import suite
from bpflens.testing.conformance.differences import DIFFERENCES, difference
from bpflens.testing.on_engine import EngineBench

CHECKS = suite.checks()


@pytest.fixture
def bench() -> Bench:
    return EngineBench()


def test_there_are_many_and_each_has_its_own_name() -> None:
    assert len(CHECKS) > 1600
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_each_says_what_it_checks() -> None:
    for check in CHECKS:
        assert check.says, check.name
        assert check.says.splitlines()[0].endswith((".", ":")), check.name


def test_each_takes_calls_or_a_bench() -> None:
    for check in CHECKS:
        code = check.function.__code__
        assert code.co_varnames[0] in ("calls", "bench"), check.name
        inspect.signature(check.function).bind(None, *check.arguments)  # or it raises


def test_each_listed_difference_is_about_a_check() -> None:
    for row in DIFFERENCES:
        for pattern in row.checks:
            assert any(fnmatchcase(check.name, pattern) for check in CHECKS), pattern


def test_nothing_is_listed_for_the_judge() -> None:
    assert not any(difference("linux 6.18", check.name) for check in CHECKS)


def judged(function: object, bench: Bench, name: str = "none.such") -> str:
    return suite.judge(suite.Check(name, function), bench)  # type: ignore[arg-type]


def test_what_passes(bench: Bench) -> None:
    assert judged(lambda calls: None, bench) == ""


def test_what_fails_is_passed_on(bench: Bench) -> None:
    def check(calls: object) -> None:
        raise SyscallError(errno.EINVAL, "bpf(MAP_CREATE)")

    with pytest.raises(SyscallError):
        judged(check, bench)
    with pytest.raises(AssertionError, match="got 1, expected 2"):
        judged(lambda calls: suite.same(1, 2), bench)


def test_a_listed_difference_must_occur(bench: Bench) -> None:
    bench.name = "linux 6.1"
    listed = "entry.closed_fd/stream_read"
    assert "streams" in judged(lambda calls: suite.same(1, 2), bench, listed)
    with pytest.raises(AssertionError, match="no longer differs"):
        judged(lambda calls: None, bench, listed)


def test_what_a_stable_update_mended_may_occur_or_not(bench: Bench) -> None:
    bench.name = "linux 6.1"
    listed = "info.padding_is_unknown/prog"
    assert "6.1.180" in judged(lambda calls: suite.same(1, 2), bench, listed)
    assert judged(lambda calls: None, bench, listed) == ""
    bench.name = "linux 6.12"
    with pytest.raises(AssertionError, match="got 1, expected 2"):
        judged(lambda calls: suite.same(1, 2), bench, listed)


def test_what_the_bench_has_not_is_no_difference(bench: Bench) -> None:
    def check(bench: Bench) -> None:
        raise NotOffered("no such thing")

    bench.name = "linux 6.1"
    with pytest.raises(NotOffered):
        judged(check, bench, "entry.closed_fd/stream_read")


def test_a_check_leaves_nothing_open(bench: Bench) -> None:
    seen: list[int] = []

    def check(calls: object) -> None:
        from bpflens.testing.builders import map

        seen.append(map(calls))  # type: ignore[arg-type]
        raise AssertionError("half way")

    before = bench.files
    with pytest.raises(AssertionError):
        judged(check, bench)
    assert seen
    assert bench.files is not before
    assert bench.files.fds == []


def test_fails_names_both_errnos() -> None:
    def call() -> None:
        raise SyscallError(errno.EPERM, "bpf(X)")

    suite.fails(errno.EPERM, call)
    with pytest.raises(AssertionError, match=r"Operation not permitted, not Invalid argument"):
        suite.fails(errno.EINVAL, call)
    with pytest.raises(AssertionError, match="instead of"):
        suite.fails(errno.EINVAL, lambda: None)
