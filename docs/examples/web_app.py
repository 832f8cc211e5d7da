"""A web application (aiohttp) that answers at once, and does the work in the background.

POST /orders   stores the order and answers 202; it survives a restart, and a power cut
GET /health    how many wait, and whether the queue works

python web_app.py [DIRECTORY [PORT]]
"""

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aiohttp import web

from asyncpq import AsyncQueue, Full, QueueClosed

QUEUE: Final = web.AppKey("queue", AsyncQueue)
ORDERS_MAX: Final = 10_000  # that wait; more are refused, so that clients slow down

logger: Final = logging.getLogger("web_app")


async def take_order(request: web.Request) -> web.Response:
    try:
        order = await request.json()
    except json.JSONDecodeError:
        return web.json_response({"error": "the body is no JSON"}, status=400)
    try:
        await request.app[QUEUE].put_nowait(order)  # durable when it returns
    except Full:
        return web.json_response({"error": "busy; try again"}, status=503, headers={"Retry-After": "5"})
    except QueueClosed:
        return web.json_response({"error": "shutting down"}, status=503)
    return web.json_response({"accepted": True}, status=202)


async def health(request: web.Request) -> web.Response:
    stats = request.app[QUEUE].stats()
    found = {key: stats[key] for key in ("size", "in_flight", "failed")}
    return web.json_response(found, status=500 if stats["failed"] else 200)


async def fulfil(queue: AsyncQueue) -> None:
    """The background worker: it lives as long as the application."""
    async for delivery in queue.deliveries():
        try:
            logger.info("attempt %d", delivery.attempt)
            await asyncio.sleep(0)  # the work: an email, a payment, another service
        except Exception as error:  # one order that fails must not end the worker
            await delivery.nack(delay=5.0, error=error)
        else:
            await delivery.ack()


def make_app(path: Path) -> web.Application:
    async def background(app: web.Application) -> AsyncIterator[None]:
        dead = path.with_name(path.name + "-dead")
        async with AsyncQueue(
            path, ORDERS_MAX, serializer="json", fsync="always", max_attempts=5, dead_letters=dead
        ) as queue:
            app[QUEUE] = queue
            worker = asyncio.create_task(fulfil(queue))
            yield
            queue.shutdown(immediate=True)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(worker, timeout=10)

    app = web.Application()
    app.cleanup_ctx.append(background)
    app.add_routes([web.post("/orders", take_order), web.get("/health", health)])
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    arguments = dict(enumerate(sys.argv))
    web.run_app(make_app(Path(arguments.get(1, "orders"))), host="127.0.0.1", port=int(arguments.get(2, "8080")))
