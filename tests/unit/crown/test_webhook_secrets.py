"""What senders verify webhooks with."""

from __future__ import annotations

import base64

import pytest

from crown.vault import Key
from crown.webhook_secrets import WebhookSecrets, parse, raw

DATA_KEY = Key(b"k" * 32)


def new_secret() -> str:
    return WebhookSecrets({}, Key.fresh()).of("feed")[0]


def test_each_service_has_a_secret_of_its_own_that_stays() -> None:
    secrets = WebhookSecrets({}, DATA_KEY)
    assert secrets.of("feed") == WebhookSecrets({}, Key(b"k" * 32)).of("feed")
    assert secrets.of("feed") != secrets.of("chat")
    assert secrets.of("feed") != WebhookSecrets({}, Key.fresh()).of("feed")
    assert len(raw(secrets.of("feed")[0])) == 32


def test_what_was_set_wins() -> None:
    one, two = new_secret(), new_secret()
    given = parse(f"feed={one}|{two}, chat={two}")
    secrets = WebhookSecrets(given, DATA_KEY)
    assert secrets.of("feed") == (one, two)
    assert secrets.of("chat") == (two,)
    assert len(secrets.of("news")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "whsec_x",
        "feed=",
        "feed=abc",
        "feed=whsec_!!",
        f"feed=whsec_{base64.b64encode(b'short').decode()}",
        f"=whsec_{base64.b64encode(b'x' * 32).decode()}",
        f"a=whsec_{base64.b64encode(b'x' * 32).decode()},a=whsec_{base64.b64encode(b'x' * 32).decode()}",
    ],
)
def test_no_secret(text: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        parse(text)
    assert "whsec_e" not in str(caught.value)
