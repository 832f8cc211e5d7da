"""How far it is: lines where there is no terminal, and what is known of rate and time left."""

from asyncpq.cli.progress import EVERY, Bar, Lines, Reached


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines(reached: Reached) -> tuple[Lines, Clock, list[object]]:
    clock, said = Clock(), list[object]()
    return Lines(reached, clock, said.append), clock, said


def test_what_is_done_soon_writes_no_line() -> None:
    meter, clock, said = lines(Reached("export", all_items=10))
    with meter:
        clock.now += EVERY - 0.1
        meter.reach(items=10, bytes=100)
    assert said == []


def test_a_line_every_few_seconds_has_items_bytes_rate_and_time_left() -> None:
    meter, clock, said = lines(Reached("export", all_items=40_000))
    with meter:
        for count in range(1, 31):
            clock.now += 1
            meter.reach(items=count * 1000, bytes=count * 50_000)
    assert said[0] == "export: 5,000 of 40,000 items, 250.0 kB, 1,000/s, 35 s left"
    assert said[-1] == "export: 30,000 of 40,000 items, 1.5 MB, 1,000/s, 10 s left"
    assert len(said) == 6


def test_without_a_total_no_time_left_is_made_up() -> None:
    meter, clock, said = lines(Reached("import"))
    with meter:
        clock.now += 10
        meter.reach(items=50, bytes=200)
    assert said == ["import: 50 items, 200 bytes, 5/s"]


def test_bytes_alone_have_a_rate_and_their_total_may_come_late() -> None:
    meter, clock, said = lines(Reached("copy"))
    with meter:
        clock.now += 10
        meter.reach(bytes=5_000_000, all_bytes=20_000_000)
    assert said == ["copy: 5.0 MB of 20.0 MB, 500.0 kB/s, 30 s left"]


def test_a_part_is_never_more_than_the_whole() -> None:
    """A writer may be faster than who counts what there is."""
    assert Reached("copy", bytes=30, all_bytes=20).part == 1
    assert Reached("copy", bytes=30).part is None
    assert Reached("copy", items=0, all_items=0).part is None


def test_a_bar_shows_what_a_line_says() -> None:
    clock = Clock()
    bar = Bar(Reached("check", all_bytes=100), clock)
    clock.now += 1
    bar.reach(bytes=50)
    task = bar._bar.tasks[0]
    assert (task.percentage, task.fields["detail"]) == (50, "50%  50 bytes of 100 bytes  50 bytes/s")
