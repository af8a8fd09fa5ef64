"""The demo page and the console as a browser gets them: as they are on the disk, kept by nobody, and allowed nothing
from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.render import HERE

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

FILES = {
    "/openapi": ("openapi.html", "text/html; charset=utf-8"),
    "/openapi.yaml": ("openapi.yaml", "application/yaml"),
    "/openapi/openapi.css": ("openapi.css", "text/css; charset=utf-8"),
    "/openapi/openapi.js": ("openapi.js", "text/javascript; charset=utf-8"),
    "/demo": ("demo.html", "text/html; charset=utf-8"),
    "/demo/demo.css": ("demo.css", "text/css; charset=utf-8"),
    "/demo/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
    "/demo/phoenix.mjs": ("phoenix.mjs", "text/javascript; charset=utf-8"),
    "/console": ("console.html", "text/html; charset=utf-8"),
    "/console/console.css": ("console.css", "text/css; charset=utf-8"),
    "/console/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/console/draw.js": ("console-draw.js", "text/javascript; charset=utf-8"),
    "/console/figures.js": ("console-figures.js", "text/javascript; charset=utf-8"),
    "/console/letters.js": ("console-letters.js", "text/javascript; charset=utf-8"),
    "/console/panels.js": ("console-panels.js", "text/javascript; charset=utf-8"),
    "/console/story.js": ("console-story.js", "text/javascript; charset=utf-8"),
    "/console/phoenix.mjs": ("phoenix.mjs", "text/javascript; charset=utf-8"),
}


@pytest.mark.parametrize("path", FILES)
async def test_a_file_is_served(gateway: Gateway, path: str) -> None:
    name, type_ = FILES[path]
    reply = await gateway.send("GET", path, token=None)
    assert (reply.status, reply.headers["content-type"]) == (200, type_)
    assert reply.body == (HERE / "web" / name).read_bytes()
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert (await gateway.send("HEAD", path, token=None)).status == 200


@pytest.mark.parametrize(
    "path", ["/demo/", "/demo/demo.html", "/demo/vendored.sha256", "/demo/../envoy.yaml", "/demox", "/demo/x"]
)
async def test_no_other_file_is(gateway: Gateway, path: str) -> None:
    reply = await gateway.send("GET", path, token=None)
    assert (reply.status, reply.json["code"]) == (404, 5)


async def test_it_takes_nothing(gateway: Gateway) -> None:
    reply = await gateway.send("POST", "/demo", token=None)
    assert (reply.status, reply.headers["allow"]) == (405, "GET")
