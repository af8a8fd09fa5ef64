"""The file of feeds: every problem at once, told by feed, event and field, and never with a value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crown.settings import SettingsError
from services.realtime.relay import feeds_file

PAGE = Path(__file__).parents[5] / "docs" / "relay.md"
FEED = 'name = "scores"\nurl = "wss://scores.example/live?all=1"\n'
RULE = 'id = "id"\nuser_id = "user.id"\ndata.title = "{team} scored"\n'
GOOD = f"[[feed]]\n{FEED}[[feed.event]]\n{RULE}"


def problems(folder: Path, text: str) -> list[str]:
    path = folder / "feeds.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        feeds_file.read(path)
    found = caught.value.problems
    assert all(problem.startswith("CROWN_RELAY_FEEDS: ") for problem in found)
    return [problem.removeprefix("CROWN_RELAY_FEEDS: ") for problem in found]


def test_a_feed_says_everything(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("Authorization: Bearer hush\n")
    path = tmp_path / "feeds.toml"
    path.write_text(
        f"""
        [[feed]]
        {FEED}
        subprotocols = ["v2.scores", "v1.scores"]
        headers_file = "secret"
        send = ["hello", {{subscribe = ["goals", "cards"], since = 5}}]
        idle_s = 45
        [[feed.event]]
        {RULE}
        """
    )
    (found,) = feeds_file.read(path)
    assert (found.name, found.url) == ("scores", "wss://scores.example/live?all=1")
    assert found.subprotocols == ("v2.scores", "v1.scores")
    assert found.headers_file == tmp_path / "secret"
    assert found.send == ("hello", '{"subscribe":["goals","cards"],"since":5}')
    assert (found.idle_s, len(found.rules)) == (45.0, 1)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        colour = "red"
        [[feed]]
        name = "Scores"
        url = "https://scores.example"
        idle_s = 0
        send = [5]
        [[feed.event]]
        id = "a b"
        type = "pigeon"
        data.titel = "x"
        [[feed]]
        name = "news"
        url = "wss://news.example"
        subprotocols = ["a b"]
        headers_file = "missing"
        [[feed.event]]
        when = {a = [1]}
        user_id = "u"
        user_ids = "us"
        channels = ["push", "push"]
        kind = "coup"
        category = 5
        priority = "now"
        data.title = "{team!r}"
        [[feed]]
        name = "news"
        """,
    )
    assert found == [
        "'colour': is not known here; there are feed",
        "feed 1: name: must be 1 to 32 lower-case letters, digits or _- and begin with a letter",
        "feed 1: url: must be wss://host/path, or ws://host/path for a feed without secrets",
        "feed 1: send: must be a list of strings, sent as they are, and tables, sent as JSON",
        "feed 1: idle_s: must be a number of seconds from 1 to 86400",
        "feed 1: event 1: user_id: exactly one of user_id, user_ids and each is required; each may have user_id",
        "feed 1: event 1: id: must be names separated by dots, such as match.id: "
        "letters, digits or _@$-, at most 16 names",
        "feed 1: event 1: type: must be one of real_time, push, email, sms, in_app",
        "feed 1: event 1: data.title: title or message is required",
        "feed 1: event 1: data.'titel': is not known here; there are title, message, action_url, image_url",
        "feed news: headers_file: cannot be read (No such file or directory)",
        "feed news: subprotocols: must be a list of names without spaces and commas, each once at most",
        "feed news: event 1: user_id: exactly one of user_id, user_ids and each is required; each may have user_id",
        "feed news: event 1: when: a must be a string, a number or a boolean",
        "feed news: event 1: id: is required",
        "feed news: event 1: channels: must be a list of real_time, push, email, sms, in_app, each once at most",
        "feed news: event 1: kind: must be one of like, comment, mention, friend_request, follow, maintenance, "
        "update, campaign, promotion, login_alert, password_change, media_ready",
        "feed news: event 1: category: must be one of activity, social, system, marketing, security",
        "feed news: event 1: priority: must be one of critical, normal, bulk",
        "feed news: event 1: data.title: a place in braces must be names separated by dots, such as match.id: "
        "letters, digits or _@$-, at most 16 names",
        "feed news: url: is required",
        "feed news: event: must be given as [[feed.event]], once or more",
        "feed news: name: must be another one for each feed",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "feed: must be given as [[feed]], once or more"),
        ("feed = 1", "feed: must be given as [[feed]], once or more"),
        ("feed = [1]", "feed: must be given as [[feed]], once or more"),
        ("[[feed]", "the file is not TOML: "),
        (GOOD + "data = 1", "the file is not TOML: "),
        (
            GOOD.replace('data.title = "{team} scored"', "data = 1"),
            "feed scores: event 1: data: must be a table",
        ),
        (
            GOOD + 'data.message = ""',
            "feed scores: event 1: data.message: must be a string that is not empty",
        ),
        (
            GOOD + 'type = "push"\nchannels = ["sms"]',
            "feed scores: event 1: type: give type or channels, not both",
        ),
        (
            GOOD.replace("idle", "x").replace("[[feed.event]]", "idle_s = true\n[[feed.event]]"),
            "feed scores: idle_s",
        ),
        (GOOD.replace("?all=1", "#here"), "feed scores: url: must be wss://host/path"),
        (GOOD.replace("scores.example", "scores.example:99999"), "feed scores: url: must be wss://host/path"),
        (GOOD.replace("scores.example", "me:hush@scores.example"), "feed scores: url: must not hold a user"),
    ],
)
def test_one_problem(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text)[0].startswith(problem)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the file \(No such file"):
        feeds_file.read(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="it is not text"):
        feeds_file.read(tmp_path / "binary")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("wss://scores.example", True),
        ("ws://127.0.0.1:99", True),
        ("ws://localhost:99", True),
        ("ws://scores.example", False),
    ],
)
def test_headers_are_not_shown_to_everybody(tmp_path: Path, url: str, allowed: bool) -> None:
    (tmp_path / "secret").write_text("X-Key: hush")
    text = GOOD.replace("wss://scores.example/live?all=1", url).replace(
        "[[feed.event]]", 'headers_file = "secret"\n[[feed.event]]'
    )
    if allowed:
        (tmp_path / "feeds.toml").write_text(text)
        feeds_file.read(tmp_path / "feeds.toml")
    else:
        (found,) = problems(tmp_path, text)
        assert found.startswith("feed scores: url: must be wss://… where there is a headers_file")


def test_no_value_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush-header")
    text = f"""
        hush = "hush-top"
        [[feed]]
        name = "hush-name!"
        url = "wss://hush-user:hush-password@x"
        headers_file = "secret"
        send = [["hush-send"]]
        token = "hush-token"
        [[feed.event]]
        {RULE.replace("user.id", "hush id")}
        """
    found = problems(tmp_path, text)
    assert len(found) == 7
    assert not [problem for problem in found if "hush-" in problem]


def test_the_example_of_the_page_is_good(tmp_path: Path) -> None:
    (tmp_path / "scores-headers").write_text("Authorization: Bearer hush")
    (example,) = re.findall(
        r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    path = tmp_path / "feeds.toml"
    path.write_text(example)
    assert [feed.name for feed in feeds_file.read(path)] == ["scores", "jobs"]
