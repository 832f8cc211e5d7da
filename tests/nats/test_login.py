"""Who may log in does, who may not hears why, and what is secret is never shown."""

import asyncio
import logging
import ssl
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asyncpq import AccessDenied, AsyncNatsQueue, AsyncpqError, ServerAway
from asyncpq.nats.login import login
from tests.nats.keys import certificate, realm
from tests.nats.server import Server, running

SECRET = "s3cr3t-0f-th3-qu3u3"


@contextmanager
def guarded(folder: Path, more: str) -> Iterator[Server]:
    with running(folder, more=more, sync_interval=None) as server:
        yield server


async def works(queue: AsyncNatsQueue) -> None:
    async with queue:
        await queue.put("item")
        assert await queue.get() == "item"
        await queue.task_done()


async def shown_by(queue: AsyncNatsQueue) -> str:
    """All that a queue which cannot open says."""
    with pytest.raises(AsyncpqError) as error:
        await queue.open()
    return "".join(traceback.format_exception(error.value)) + repr(queue) + repr(vars(error.value))


@pytest.mark.parametrize("way", ["in the address", "as an argument"])
@pytest.mark.parametrize("kind", ["token", "user and password"])
async def test_a_login_works_and_a_wrong_one_is_denied_at_once_without_showing_it(
    kind: str, way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    token = kind == "token"
    rule = f'token: "{SECRET}"' if token else f'user: worker, password: "{SECRET}"'
    with guarded(tmp_path, f"authorization {{ {rule} }}") as server:

        def queue(secret: str) -> AsyncNatsQueue:
            if way == "in the address":
                who = secret if token else f"worker:{secret}"
                return AsyncNatsQueue(f"nats://{who}@127.0.0.1:{server.port}", "jobs", timeout=10.0)
            more: dict[str, Any] = {"token": secret} if token else {"user": "worker", "password": secret}
            return AsyncNatsQueue(server.url, "jobs", timeout=10.0, **more)

        await works(queue(SECRET))
        wrong = SECRET[::-1]
        began = asyncio.get_running_loop().time()
        with pytest.raises(AccessDenied, match=r"check token, user and password"):
            await queue(wrong).open()
        assert asyncio.get_running_loop().time() - began < 5
        shown = await shown_by(queue(wrong)) + repr(queue(SECRET)) + caplog.text + "".join(capfd.readouterr())
    assert "Authorization Violation" in shown
    for secret in (SECRET, wrong):
        assert secret not in shown


# nats-py leaves a connection that the server refuses to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_secret_is_shown_neither_while_the_server_is_away_nor_when_it_comes_back_with_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rule = 'authorization {{ token: "{}" }}'
    with guarded(tmp_path, rule.format(SECRET)) as server:
        queue = AsyncNatsQueue(f"nats://{SECRET}@127.0.0.1:{server.port}", "jobs", timeout=0.5)
        async with queue:
            server.kill()
            server.config = server.config.replace(SECRET, "another")
            await asyncio.to_thread(server.start)
            with pytest.raises(ServerAway) as away:
                await queue.put("item")
            shown = "".join(traceback.format_exception(away.value)) + repr(queue) + str(queue.stats())
            server.kill()
            server.config = server.config.replace("another", SECRET)
            await asyncio.to_thread(server.start)
            await asyncio.wait_for(queue._engine.wire.connection.connected.wait(), 20)  # type: ignore[union-attr]
            await queue.put("item")
            assert await queue.get(timeout=10) == "item"
    assert SECRET not in shown + caplog.text


async def test_a_credentials_file_works_and_its_seed_is_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made, other = realm(tmp_path / "keys"), realm(tmp_path / "other")
    with guarded(tmp_path / "server", made.config) as server:
        await works(AsyncNatsQueue(server.url, "jobs", credentials=made.credentials))
        shown = await shown_by(AsyncNatsQueue(server.url, "jobs", credentials=other.credentials, timeout=10.0))
        broken = tmp_path / "broken.creds"
        broken.write_text(made.seed)
        with pytest.raises(ValueError, match="no credentials file"):
            await AsyncNatsQueue(server.url, "jobs", credentials=broken).open()
        with pytest.raises(FileNotFoundError):
            await AsyncNatsQueue(server.url, "jobs", credentials=tmp_path / "none").open()
    assert "Authorization Violation" in shown
    for secret in (made.seed, made.token, other.seed, other.token):
        assert secret not in shown + caplog.text


async def test_tls_works_where_the_certificate_is_trusted_and_is_refused_elsewhere(tmp_path: Path) -> None:
    made, other = certificate(tmp_path / "keys"), certificate(tmp_path / "other")
    with guarded(tmp_path / "server", made.config) as server:
        context = ssl.create_default_context(cafile=str(made.file))
        for trusted in (made.file, str(made.file), context):
            await works(AsyncNatsQueue(f"tls://127.0.0.1:{server.port}", "jobs", tls=trusted))
        for untrusted in (None, other.file):
            with pytest.raises(AccessDenied, match=r"(?i)certificate"):
                await AsyncNatsQueue(server.url, "jobs", tls=untrusted, timeout=10.0).open()


PERMISSIONS = """
authorization { users: [ { user: worker, password: w, permissions: {
  publish: [ "asyncpq.jobs", "$JS.API.STREAM.*.jobs", "$JS.API.STREAM.MSG.DELETE.jobs", "$JS.API.CONSUMER.>",
             "$JS.ACK.jobs.>" ],
  subscribe: [ "_INBOX.>" ] } } ] }
"""


async def test_a_user_who_may_do_what_the_page_says_can_use_the_queue_and_no_other(tmp_path: Path) -> None:
    with guarded(tmp_path, PERMISSIONS) as server:
        login: dict[str, Any] = {"user": "worker", "password": "w"}
        await works(AsyncNatsQueue(server.url, "jobs", **login))
        async with AsyncNatsQueue(server.url, "jobs", **login) as queue:
            await queue.put_many(range(10))
            await (await queue.claim()).nack()
            await queue.clear()
            assert await queue.qsize() == 0
        began = asyncio.get_running_loop().time()
        with pytest.raises(AccessDenied, match=r"(?i)permissions violation"):
            await AsyncNatsQueue(server.url, "others", **login).open()
        assert asyncio.get_running_loop().time() - began < 4


async def test_a_server_without_jetstream_says_so(tmp_path: Path) -> None:
    away = pytest.raises(ServerAway, match="JetStream is not ready, or not enabled")
    with running(tmp_path, jetstream=False) as server, away:
        await AsyncNatsQueue(server.url, "jobs", timeout=0.5).open()


def test_a_login_is_taken_out_of_the_address() -> None:
    found = login("nats://us%40er:pass%2Fword@host:1,nats://other")
    assert found.servers == ("nats://host:1", "nats://other:4222")
    assert (found.user, found.password, found.token) == ("us@er", "pass/word", None)
    assert login("nats://to%3Aken@host").token == "to:ken"
    assert login(["host", "[::1]:5"]).servers == ("nats://host:4222", "nats://[::1]:5")
    assert "pass" not in repr(found)
    with pytest.raises(ValueError, match="several logins"):
        login("nats://a:b@host", token="c")


# -- promises -------------------------------------------------------------------------------------------------------


async def test_a_server_that_answers_before_it_syncs_is_warned_about_where_it_says_so(
    server: Server, name: str, tmp_path: Path
) -> None:
    async with AsyncNatsQueue(server.url, name, monitor=server.monitor) as queue:
        assert queue.stats()["server_syncs_every"] == 0.0
    with running(tmp_path, sync_interval=None) as lazy:
        with pytest.warns(UserWarning, match=r"in the last 120 s; set sync_interval: always"):
            queue = await AsyncNatsQueue(lazy.url, name, monitor=lazy.monitor).open()
        assert queue.stats()["server_syncs_every"] == 120.0
        await queue.close()
        async with AsyncNatsQueue(lazy.url, name) as queue:
            assert queue.stats()["server_syncs_every"] is None
        for nobody in ("http://127.0.0.1:9", "ftp://x", lazy.monitor + "/nothing"):
            async with AsyncNatsQueue(lazy.url, name, monitor=nobody) as queue:
                assert queue.stats()["server_syncs_every"] is None


async def test_the_system_account_may_ask_how_the_server_syncs(tmp_path: Path) -> None:
    accounts = (
        "accounts { SYS { users: [ { user: admin, password: admin } ] }, "
        "A { jetstream: enabled, users: [ { user: a, password: a } ] } }\nsystem_account: SYS\n"
    )
    from asyncpq.nats.connecting import Connection
    from asyncpq.nats.promises import sync_interval
    from asyncpq.nats.wire import Wire

    with guarded(tmp_path, accounts) as server:
        connection = Connection(login(server.url, user="admin", password="admin"), server.url, 5.0)
        wire = Wire(asyncio.get_running_loop(), connection, lambda message, name: None)
        await wire.open()
        assert await sync_interval(wire, None) == 120.0
        await wire.close()
