"""diskcache's Deque: a directory with a database, and a file for each value that is large.

    cache.db    Cache: key, raw, mode, filename, value      key: where in the deque; value: as the mode says
    ab/cd/<name>.val                                        mode 1 raw  2 bytes in a file  3 text in a file  4 a pickle

A blob is a pickle: the one that is there, or that of the value.  Files are opened below the directory only, without
following links.  What a JSONDisk stored comes as the compressed bytes that it is.

Source of the layout: what diskcache 5.6.3 creates.
"""

from __future__ import annotations

import errno
import os
import pickle
import time
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from asyncpq import serializers
from asyncpq.errors import NotAQueue, WrongSerializer
from asyncpq.looking import Looking
from asyncpq.serializers import Damaged
from asyncpq.sources.blobs import Reading
from asyncpq.sources.litequeue import pickled_text
from asyncpq.sources.rows import Table
from asyncpq.sources.tables import Candidate, TableSource, Words, as_it_is

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.sources.database import ReadOnly
    from asyncpq.sources.options import Options
    from asyncpq.sources.rows import Row

__all__ = ["DATABASE", "found"]

DATABASE: Final = "cache.db"
TABLE: Final = "Cache"
COLUMNS: Final = [
    *("rowid", "key", "raw", "store_time", "expire_time", "access_time", "access_count"),
    *("tag", "size", "mode", "filename", "value"),
]
RAW, BYTES, TEXT, PICKLE = 1, 2, 3, 4
LARGEST: Final = 1 << 30  # bytes of a file that is read into memory


def found(tables: dict[str, list[str]]) -> list[Candidate]:
    """Return the deque among *tables*, whose columns are given."""
    return [Candidate("default", TABLE, _open)] if tables.get(TABLE) == COLUMNS else []


def _open(path: Path, database: ReadOnly, options: Options) -> TableSource:
    if options.serializer not in (None, serializers.pickle):
        raise WrongSerializer(path, options.serializer.NAME, "pickle")
    if database.one(f"SELECT count(*) FROM {TABLE} WHERE typeof(key) <> 'integer' OR raw IS NOT 1"):
        raise NotAQueue(path, "is a cache or an index of diskcache, whose keys are no places in a deque: no queue")
    table = Table(
        name=TABLE,
        number="rowid",
        data="value",
        more=("mode", "filename", "size", "store_time"),
        types=True,
        where=f"(t.expire_time IS NULL OR t.expire_time > {time.time()!r})",
        order="t.key, t.raw",
    )
    reading = Reading(serializers.get("pickle"), options.unpickle, options.encoding)
    files = database.one(f"SELECT sum(size) FROM {TABLE} WHERE typeof(size) = 'integer' AND filename IS NOT NULL")
    words = Words("diskcache", "diskcache's Deque", {"stored": "values, and large ones in files"}, files or 0)
    return TableSource(path, database, table, reading, partial(_blob, database.path.parent), words)


def _blob(directory: Path, row: Row) -> bytes:
    """Return the pickle of the value in *row*, which is a number, a value, its type, and mode, filename and size."""
    _, value, kind, mode, name, size, *_ = row
    if mode == RAW:
        return pickled_text(value) if kind == b"text" else pickle.dumps(value, serializers.pickle.PROTOCOL)
    if mode not in (BYTES, TEXT, PICKLE):
        raise Damaged(f"mode {mode!r:.20} is none that diskcache writes")
    data = as_it_is(row) if name is None else _file(directory, name, size)
    if mode == PICKLE:
        return data
    return pickled_text(data) if mode == TEXT else pickle.dumps(data, serializers.pickle.PROTOCOL)


def _file(directory: Path, name: Any, size: Any) -> bytes:
    """Return what the file *name* below *directory* holds, which has *size* bytes.

    Raises:
        Damaged: the name leads elsewhere, or there is no such file, or it has another size.
    """
    if not isinstance(name, bytes):
        raise Damaged("the name of its file is no text")
    *folders, file = PurePosixPath(os.fsdecode(name).replace(os.sep, "/")).parts or ("..",)
    if {"/", ".."} & {*folders, file} or b"\0" in name:
        raise Damaged("the name of its file leads out of the directory")
    files, opened = Looking(), [-1]
    try:
        opened = [files.open_dir(os.fspath(directory))]
        for folder in folders:
            opened.append(files.open_subdir(opened[-1], folder))
        opened.append(files.open_read(opened[-1], file))
        return _read(files, opened[-1], size)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        raise Damaged("its file is not there" if missing else f"its file cannot be read: {error.strerror}") from None
    finally:
        for fd in opened:
            if fd >= 0:
                files.close(fd)


def _read(files: Looking, fd: int, size: Any) -> bytes:
    there = files.size(fd)
    if there != size or there > LARGEST:
        raise Damaged(f"its file has {there} bytes, not {size!r:.30}" if there != size else "its file is too large")
    data = b""
    while len(data) < there and (more := files.pread(fd, there - len(data), len(data))):
        data = data + more if data else more
    return data
