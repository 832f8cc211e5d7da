"""The counts of the last soak run: kept in docs/counts.json by the tests, shown in docs/promises.md by a command.

make soak                       tests call save(); docs/counts.json changes
python -m tests.counts          docs/promises.md shows it, between its two marks
python -m tests.counts --check  ends with an error where it does not
"""

import fcntl
import json
import platform
import sys
from pathlib import Path
from typing import Any, Final

DOCS: Final = Path(__file__).parents[1] / "docs"
FILE: Final = DOCS / "counts.json"
PAGE: Final = DOCS / "promises.md"
BEGIN: Final = "<!-- counts: made by a command -->"
END: Final = "<!-- end of the counts -->"

Row = dict[str, int | str]
Tables = dict[str, dict[str, Row]]  # title -> first column -> the other columns


def load() -> Tables:
    tables: Tables = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    return tables


def save(title: str, name: str, row: Row) -> None:
    """Keep the columns of the row *name* of the table *title*, until a later run replaces them."""
    with FILE.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two runs at once do not lose each other's
        file.seek(0)
        tables: Tables = json.loads(file.read() or "{}")
        tables.setdefault(title, {}).setdefault(name, {}).update(row)
        tables["run on"] = {"system": {"kernel": kernel(), "Python": platform.python_version()}}
        file.truncate(0)
        file.write(json.dumps(tables, indent=1) + "\n")


def kernel() -> str:
    """The system and its version, without the names that its builder gave it."""
    return f"{platform.system()} {'.'.join(platform.release().split('-')[0].split('.')[:2])}"


def text(tables: Tables) -> str:
    """All tables as Markdown."""
    parts = [_table(title, rows) for title, rows in tables.items() if title != "run on"]
    system = tables.get("run on", {}).get("system", {"kernel": "none", "Python": "none"})
    about = f"Counts of the last soak runs, on {system['kernel']} with Python {system['Python']}."
    return "\n\n".join([about, *parts])


def _table(title: str, rows: dict[str, Row]) -> str:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" + "|---:" * len(columns) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(_cell(row.get(column, '')) for column in columns)} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def page(old: str, tables: Tables) -> str:
    """The page *old* with the counts of *tables*.

    Raises:
        ValueError: it has no place for them.
    """
    before, mark, rest = old.partition(BEGIN)
    if not mark:
        raise ValueError(f"{PAGE.name} has no line {BEGIN}")
    after = rest.partition(END)[2] if END in rest else "\n"
    return f"{before}{BEGIN}\n\n{text(tables)}\n\n{END}{after}"


def main() -> None:
    old = PAGE.read_text("utf-8")
    new = page(old, load())
    if "--check" not in sys.argv:
        PAGE.write_text(new, "utf-8")
    elif new != old:
        sys.exit(f"{PAGE.name} does not show the counts of {FILE.name}: run `make counts`")


if __name__ == "__main__":
    main()
