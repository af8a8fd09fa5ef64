"""Which address a client has, whoever says so."""

from __future__ import annotations

import pytest

from services.realtime.proxies import PRIVATE, Proxies


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param("203.0.113.9", [], "203.0.113.9", id="direct"),
        pytest.param("203.0.113.9", ["198.51.100.1"], "203.0.113.9", id="a stranger's word"),
        pytest.param("10.1.2.3", ["198.51.100.1"], "198.51.100.1", id="our proxy's word"),
        pytest.param("127.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1", id="the last entry"),
        pytest.param("127.0.0.1", ["6.6.6.6", "198.51.100.1"], "198.51.100.1", id="the last header"),
        pytest.param("127.0.0.1", ["198.51.100.1:4711"], "198.51.100.1", id="with a port"),
        pytest.param("127.0.0.1", ["nonsense"], "127.0.0.1", id="no address"),
        pytest.param("127.0.0.1", [""], "127.0.0.1", id="nothing"),
        pytest.param("127.0.0.1", [], "127.0.0.1", id="a proxy that does not say"),
        pytest.param("::ffff:10.1.2.3", ["198.51.100.1"], "198.51.100.1", id="IPv4 in IPv6"),
        pytest.param("::1", ["::ffff:198.51.100.1"], "198.51.100.1", id="IPv4 in IPv6, told"),
        pytest.param("fd00::1", ["[2001:db8:1:2:3:4:5:6]:443"], "2001:db8:1:2::/64", id="IPv6 with a port"),
        pytest.param("2001:db8:1:2::9", [], "2001:db8:1:2::/64", id="an IPv6 network counts as one"),
        pytest.param("", ["198.51.100.1"], "", id="no peer"),
    ],
)
def test_the_client(peer: str, forwarded: list[str], client: str) -> None:
    assert Proxies.of(PRIVATE).client(peer, forwarded) == client


def test_with_no_proxies_nobody_is_believed() -> None:
    assert Proxies.of("").client("127.0.0.1", ["198.51.100.1"]) == "127.0.0.1"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example", "10.0.0.0/8;127.0.0.1", "10.0.0.0/33"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match="must be networks"):
        Proxies.of(text)
