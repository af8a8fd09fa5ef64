"""What the power tests need of the machine."""

from __future__ import annotations

import pytest

from tests.fault.power import disk


@pytest.fixture(autouse=True)
def _able() -> None:
    """Fails where the machine cannot lose power: a test that is skipped shows nothing."""
    lack = disk.missing()
    if lack:
        pytest.fail(f"the power tests need {lack}", pytrace=False)
