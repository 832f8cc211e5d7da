"""The power fails while a migration runs: the source is whole, the target absent or complete, the next run does it."""

import os
import random
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests import counts
from tests.migrating.moving import files, names, theirs
from tests.migrating.test_kill import CASES, MOST, VALUES, Server, finish, look, wishes
from tests.power import mounts
from tests.power.mounts import Disk, need_disk

CUTS: Final = 12  # of each case, on each file system
SAID: Final = 2 * MOST  # letters: behind the last of them a migration has said that it is done

__all__ = ["need_disk"]
pytestmark = [pytest.mark.soak, pytest.mark.no_debug, pytest.mark.usefixtures("need_disk")]


def cut(server: Server, disk: Disk, case: str, where: Path, letters: int) -> bool:
    """Cut the power off behind so many letters, and go on afterwards; return whether it had said that it was done."""
    before = files(theirs(where / "jobs", VALUES, chunksize=300))
    os.sync()
    done = not server.kill(wishes(case, where), letters, disk.cut)
    disk.remount()
    look(case, where, before)
    if done:  # the empty TARGET.partial may be there again
        assert ("jobs.bak" if case == "in place" else "target") in names(where)
    finish(case, where, before)
    return done


@pytest.mark.parametrize("kind", mounts.KINDS)
@pytest.mark.parametrize("case", CASES)
def test_what_a_power_cut_left_is_done_by_the_next_run(case: str, kind: str) -> None:
    generator, done = random.Random(f"{case}:{kind}"), 0
    with mounts.memory() as folder, mounts.disk(kind, folder) as disk:
        server = Server()
        try:
            for _ in range(CUTS):
                where = disk.root / "once"
                where.mkdir()
                done += cut(server, disk, case, where, generator.choice((generator.randrange(MOST), SAID)))
                shutil.rmtree(where)
        finally:
            server.close()
    counts.save(f"power cuts of migrations on {kind}", case, {"cuts": CUTS, "said to be done": done, "wrong": 0})
