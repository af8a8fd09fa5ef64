# shellcheck shell=bash
# Tests that wait for a minute and more, for limits of time and for keys to be changed: a part of `make trust-check`, so
# that `make test` stays short.
# shellcheck disable=SC2034
waiting=(
  tests/integration/gateway/test_slow_clients.py
  tests/integration/ingest/test_changed_secrets.py
)
