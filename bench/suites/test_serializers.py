"""Encoding and decoding one record, per serializer; nothing is written."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from asyncpq import serializers
from bench.suites.conftest import counted

CALLS: Final = 100  # in a round
ROUNDS: Final = 200
ITEMS: Final[dict[str, Any]] = {
    "21 bytes": "x" * 21,
    "a task": {"id": 4711, "url": "https://example.org/a/b?c=d", "tries": [1, 2, 3], "done": False, "after": None},
    "64 KiB": "x" * 65536,
}

pytestmark = pytest.mark.parametrize("item", ITEMS)


@pytest.fixture(params=serializers.NAMES)
def serializer(request: pytest.FixtureRequest) -> Any:
    if request.param == "cbor2":
        pytest.importorskip("cbor2")
    return serializers.get(request.param)


@pytest.mark.benchmark(group="encode")
def test_encode(benchmark: BenchmarkFixture, serializer: Any, item: str) -> None:
    encode, value = serializer.encode, ITEMS[item]

    def calls() -> None:
        for _ in range(CALLS):
            encode(value)

    _measure(benchmark, calls)


@pytest.mark.benchmark(group="decode")
def test_decode(benchmark: BenchmarkFixture, serializer: Any, item: str) -> None:
    decode, record = serializer.decode, serializer.encode(ITEMS[item])

    def calls() -> None:
        for _ in range(CALLS):
            decode(record, 0)

    _measure(benchmark, calls)


def _measure(benchmark: BenchmarkFixture, calls: Any) -> None:
    counted(benchmark, CALLS)
    benchmark.pedantic(calls, rounds=ROUNDS, warmup_rounds=2, iterations=1)  # type: ignore[no-untyped-call]
