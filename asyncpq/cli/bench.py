"""``asyncpq bench``: what each fsync policy costs on this disk, what it can lose, and what else there is."""

from __future__ import annotations

import errno
import shlex
import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from asyncpq.bench import Options
from asyncpq.bench import bench as measure
from asyncpq.bench.contenders import LIBRARIES
from asyncpq.bench.plan import KINDS, QUICK, duration, number, policy, size
from asyncpq.cli.benchtable import show
from asyncpq.cli.options import Failed, Stopped, command, json_option
from asyncpq.cli.output import emit
from asyncpq.cli.stages import stages
from asyncpq.cli.terminal import say
from asyncpq.serializers import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncpq.bench import Result

NOBODY: Final = "none"


class Several(click.ParamType[tuple[Any, ...]]):
    """Values with commas between them, each made by a function that raises ValueError; none twice."""

    name = "list"

    def __init__(self, one: Callable[[str], Any]) -> None:
        """Make each value by *one*."""
        self._one = one

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return the values."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(dict.fromkeys(self._one(part.strip()) for part in value.split(",")))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _policy(text: str) -> str:
    policy(text)
    return text


def _one_of(names: tuple[str, ...], what: str) -> Callable[[str], str]:
    def checked(text: str) -> str:
        if text not in names:
            raise ValueError(f"{text!r} is no {what}; there are: {', '.join(names)}")
        return text

    return checked


@command(
    "bench",
    "asyncpq bench --quick /var/lib/jobs",
    "asyncpq bench --load 500 --policies interval:0.2,always --report report.html",
)
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option(
    "--policies",
    type=Several(_policy),
    help="Also interval:0.2, interval:1:100.  [default: never,rollover,interval,always]",
)
@click.option("--producers", type=Several(number), help="How many tasks put at once.  [default: 1,16,256]")
@click.option("--size", "sizes", type=Several(size), help="Bytes of an item.  [default: 20,1k,64k]")
@click.option("--serializers", type=Several(_one_of(tuple(NAMES), "serializer")), help="[default: pickle]")
@click.option("--kind", "kinds", type=Several(_one_of(KINDS, "kind")), help="[default: file,sqlite]")
@click.option("--sync-delay", "delays", type=Several(duration), help="Imagine slower syncs: 0,1ms,5ms.  [default: 0]")
@click.option("--seconds", type=click.FloatRange(min=0.05), help="For each cell, in all rounds.  [default: 1.5]")
@click.option("--rounds", type=click.IntRange(min=1), help="[default: 5]")
@click.option(
    "--against",
    type=Several(_one_of((*LIBRARIES, NOBODY), "library")),
    help=f"{','.join(LIBRARIES)}, or none.  [default: those that are installed]",
)
@click.option("--load", type=click.FloatRange(min=0, min_open=True), help="The puts a second that you need.")
@click.option("--quick", is_flag=True, help="Under 20 seconds, with less of everything.")
@json_option
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with plots.")
def bench(path: Path, against: tuple[str, ...] | None, as_json: bool, report: Path | None, **given: Any) -> None:
    """Measure what each fsync policy costs on the file system of PATH, and what it can lose.

    A directory is made in PATH, and removed again.  Policies and other libraries are measured in turn; each option with
    a list is gone through at the first value of all the others.  The default takes some minutes.
    """
    options = _options(given)
    _check_report(report)
    libraries = None if against is None else tuple(name for name in against if name != NOBODY)
    result = _measured(path, options, libraries)
    if as_json:
        emit(result.as_json())
    else:
        show(result)
    sys.stdout.flush()
    if report is not None:
        _write(report, result)


def _options(given: dict[str, Any]) -> Options:
    """Return the options, those of --quick where nothing else was said."""
    said = {name: value for name, value in given.items() if value is not None and name != "quick"}
    return replace(QUICK if given["quick"] else Options(), **said)


def _check_report(report: Path | None) -> None:
    """Refuse before the measuring what would fail behind it."""
    if report is not None and not report.absolute().parent.is_dir():
        raise Failed(f"--report {report}: there is no directory {report.absolute().parent}")


def _measured(path: Path, options: Options, against: tuple[str, ...] | None) -> Result:
    typed = shlex.join(["asyncpq", *sys.argv[1:]])
    try:
        with _ended_by(signal.SIGTERM, signal.SIGHUP), stages("bench") as progress:
            return measure(path, options, against, typed, progress)
    except KeyboardInterrupt:
        raise Stopped("interrupted; nothing was left behind") from None
    except Exception as error:
        if _is_full(error):
            raise Failed(
                f"{path}: no space left on the device; nothing was left behind; make room, or say --size 20"
            ) from error
        raise


@contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """Let these signals end the body as Ctrl-C does: it removes what it made."""

    def end(number: int, _: object) -> None:
        signal.raise_signal(signal.SIGINT)  # which asyncio turns into a cancellation while it runs

    before = {one: signal.signal(one, end) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _is_full(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "disk is full" in str(error)


def _write(report: Path, result: Result) -> None:
    from asyncpq.bench.report import INSTALL, has_plots, page

    report.write_text(page(result), "utf-8")
    say(f"the report is in {report}{'' if has_plots() else f'; with plots it needs: {INSTALL}'}")
