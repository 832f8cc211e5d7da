"""The page shows the counts that the soak runs have left, and rendering them again changes nothing."""

import pytest

from tests import counts

TABLES: counts.Tables = {
    "kills": {"always": {"kills": 1200, "lost": 0}, "never": {"kills": 3, "healed": 1}},
    "run on": {"system": {"kernel": "Linux 6.1", "Python": "3.12.0"}},
}
WANTED = """# Page

<!-- counts: made by a command -->

Counts of the last soak runs, on Linux 6.1 with Python 3.12.0.

| kills | kills | lost | healed |
|---|---:|---:|---:|
| always | 1,200 | 0 |  |
| never | 3 |  | 1 |

<!-- end of the counts -->
"""


def test_the_counts_are_put_between_their_marks() -> None:
    once = counts.page(f"# Page\n\n{counts.BEGIN}\n", TABLES)
    assert once == WANTED
    assert counts.page(once, TABLES) == once
    assert counts.page(once + "more\n", TABLES) == once + "more\n"


def test_a_page_without_a_place_for_them_is_refused() -> None:
    with pytest.raises(ValueError, match="no line"):
        counts.page("# Page\n", TABLES)


def test_the_page_shows_the_counts_of_the_last_run() -> None:
    assert counts.page(counts.PAGE.read_text("utf-8"), counts.load()) == counts.PAGE.read_text("utf-8")
