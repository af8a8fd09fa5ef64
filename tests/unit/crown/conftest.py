"""What the tests of the shared package have in common."""

from __future__ import annotations

import pytest

from tests.unit.crown.issuer import Issuer


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """One for the whole run: making its keys takes a while."""
    return Issuer()
