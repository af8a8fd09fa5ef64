"""Links: what browsers make of them decides, not what a parser does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown.links import action_problem, image_problem

HOSTS = frozenset({"crown.example", "cdn.example"})

PATHS = [
    "/",
    "/messages/123",
    "/a?b=c&d=%2F%2Fevil.com#e",
    "/%5cevil.com",
    "/@evil.com",
    "/a//b",
    "/a:b",
    "/é/шаг/👍",
]
ON_OUR_HOSTS = [
    "https://crown.example",
    "https://crown.example/",
    "https://crown.example:443/a",
    "HTTPS://CROWN.EXAMPLE/a",
    "https://app.crown.example/a?next=https://evil.com",
    "https://a.b.cdn.example/x.png#y",
]
NOT_OURS = [
    # What urlsplit calls local, and a browser takes to evil.com.
    "/\\evil.com",
    "/\\/evil.com",
    "//evil.com",
    "///evil.com",
    "\\\\evil.com",
    "https:evil.com",
    "https:/evil.com",
    "https:///evil.com",
    "https:\\\\evil.com",
    # Who is the host.
    "https://crown.example@evil.com",
    "https://crown.example\\@evil.com",
    "https://crown.example:443@evil.com/",
    "https://me:pw@crown.example/",
    "https://@crown.example/",
    "https://evil.com#.crown.example",
    "https://evil.com?.crown.example",
    "https://evil.com/.crown.example",
    "https://crown.example.evil.com",
    "https://evilcrown.example",
    "https://crown.example%2eevil.com",
    "https://crown.example.",
    "https://.crown.example",
    "https://crown..example",
    "https://-.crown.example",
    # Look-alikes.
    "https://xn--crwn-rqa.example",
    "https://crоwn.example",  # noqa: RUF001 -- a Cyrillic o
    "https://ｃｒｏｗｎ．ｅｘａｍｐｌｅ",  # noqa: RUF001
    "https://crown。example",
    "https://crown.example\u200b.evil.com",
    "https://crow\u00adn.example",
    # Another scheme, or another port.
    "http://crown.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)//crown.example",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "ftp://crown.example",
    "crown://messages/1",
    "https://crown.example:8443/",
    "https://crown.example:0/",
    "https://crown.example:99999/",
    "https://crown.example:x/",
    # Addresses.
    "https://127.0.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/",
    "https://[::1",
    "https://2130706433/",
    "https://localhost/",
    # What a parser drops, and what may not be seen.
    "/\t/evil.com",
    "/\n/evil.com",
    "\t//evil.com",
    " https://crown.example",
    "https://crown.example ",
    "https://crown.exa\tmple",
    "ht\ntps://crown.example",
    "/a\x00b",
    "/a\x7fb",
    "/a\x85b",
    "/a\u2028b",
    "/a\u200bb",
    "/a b",
    "\ufeffhttps://crown.example",
    # Nothing of the kind.
    "",
    "messages/123",
    "?a=b",
    "#a",
    "https",
    "https://",
    ".",
    "..",
]


@pytest.mark.parametrize("url", [*PATHS, *ON_OUR_HOSTS])
def test_paths_and_our_hosts_are_actions(url: str) -> None:
    assert action_problem(url, HOSTS) is None


@pytest.mark.parametrize("url", ON_OUR_HOSTS)
def test_pictures_come_from_our_hosts(url: str) -> None:
    assert image_problem(url, HOSTS) is None


@pytest.mark.parametrize("url", PATHS)
def test_a_picture_is_no_path(url: str) -> None:
    assert image_problem(url, HOSTS)


@pytest.mark.parametrize("url", NOT_OURS)
def test_all_else_is_refused_with_what_is_allowed(url: str) -> None:
    assert "https on an allowed host" in str(action_problem(url, HOSTS))
    assert "https on an allowed host" in str(image_problem(url, HOSTS))


def test_without_hosts_only_paths_are_left() -> None:
    assert action_problem("/a", ()) is None
    assert action_problem("https://crown.example", ()) is not None


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    for url in (text, f"https://{text}", f"https://crown.example{text}", f"/{text}"):
        action_problem(url, HOSTS)
        image_problem(url, HOSTS)


@given(st.text("\\/\t\n @:.%?#evilcrown", max_size=12))
def test_a_path_never_names_a_host(text: str) -> None:
    """What passes as a path begins with one slash, and holds nothing that a browser drops or turns."""
    url = f"/{text}"
    if action_problem(url, HOSTS) is None:
        assert not url.startswith("//")
        assert not set(url) & set("\\\t\n ")
