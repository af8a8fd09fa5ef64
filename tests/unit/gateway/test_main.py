"""What `python -m gateway` is told, and how it starts Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.__main__ import Settings, command
from gateway.template import ConfigurationError


def test_by_itself_it_drains_for_twenty_seconds(tmp_path: Path) -> None:
    found = command(Settings.read({"GATEWAY_GRACE_S": ""}), tmp_path)
    assert found[found.index("--drain-time-s") + 1] == "20"
    assert found[found.index("--concurrency") + 1] == "2"


@pytest.mark.parametrize("name", ["ENVOY_ADMIN_PORT", "GATEWAY_CONCURRENCY", "GATEWAY_GRACE_S"])
@pytest.mark.parametrize("value", ["0", "-1", "two", "70000", "1.5"])
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        Settings.read({name: value})
