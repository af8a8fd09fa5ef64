"""What operators are given, against the whole suite as tests/e2e starts it."""

from __future__ import annotations

from tests.e2e.conftest import *  # noqa: F403 -- which fixtures these are is said there
