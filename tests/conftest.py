"""For all tests: how properties are tried."""

from __future__ import annotations

from hypothesis import settings

# Time says nothing here: the machine may be busy with the rest of the suite.
settings.register_profile("crown", deadline=None, max_examples=100)
# With --hypothesis-profile=nightly, for where there is time.
settings.register_profile("nightly", deadline=None, max_examples=20_000)
settings.load_profile("crown")
