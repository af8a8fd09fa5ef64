"""A collector that throws away what it gets, in a process of its own, so that what it uses is nobody else's."""

from __future__ import annotations

from aiohttp import web

from bench.child import Answer, serve

_runners: list[web.AppRunner] = []


async def handle(_order: Answer) -> Answer:
    """Starts it and answers where."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _runners.append(runner)
    return {"endpoint": "http://127.0.0.1:{1}".format(*runner.addresses[0])}


if __name__ == "__main__":
    serve(handle)
