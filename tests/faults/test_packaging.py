"""persist-queue as a package: each fault, and that it is not here."""

import json
from typing import Any

import asyncpq
from tests.faults.scenes import in_a_new_process

EXTRAS = ["aiosqlite", "cbor2", "click", "matplotlib", "persistqueue", "pymysql", "dbutils", "rich"]


def printed(code: str) -> Any:
    """What *code* prints as JSON in a process where the extras cannot be imported."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS}))\n"
    output, errors = in_a_new_process(hide + code)
    assert errors == ""
    return json.loads(output)


def test_p01_everything_can_be_imported_without_the_extras() -> None:
    """There, `from persistqueue import *` fails where the MySQL extra is not installed."""
    names = printed("from asyncpq import *; import json; print(json.dumps(sorted(globals())))")
    homes = {name: getattr(getattr(asyncpq, name), "__module__", "") for name in asyncpq.__all__}
    assert set(names) >= {name for name, home in homes.items() if not home.startswith("asyncpq.sqlite")}


def test_p02_serializers_are_attributes() -> None:
    """There, `persistqueue.serializers.json` is no attribute until somebody imports it, so the documented use fails."""
    code = """
import asyncpq, json
print(json.dumps([getattr(asyncpq.serializers, name).NAME for name in ("pickle", "json", "orjson", "msgpack")]))
"""
    assert printed(code) == ["pickle", "json", "orjson", "msgpack"]
    assert asyncpq.serializers.get("cbor2").NAME == "cbor2"


def test_p03_an_import_loads_no_database_and_changes_nothing_global() -> None:
    """There, every import loads sqlite3 and aiosqlite, and has sqlite3 print the tracebacks of everyone's callbacks."""
    loaded = printed("import asyncpq, json; print(json.dumps([n for n, m in sys.modules.items() if m]))")
    assert not {"sqlite3", "_sqlite3", *EXTRAS} & set(loaded)
