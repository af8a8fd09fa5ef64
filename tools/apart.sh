# shellcheck shell=bash
# Tests that wait for a minute, for limits of time and for keys to be changed, and those that attack the gateway with
# thousands of calls or with a browser: a part of `make trust-check`, so that `make test` stays short.
# shellcheck disable=SC2034
apart=(
  tests/integration/gateway/test_http2.py
  tests/integration/gateway/test_open_calls.py
  tests/integration/gateway/test_page_policy.py
  tests/integration/gateway/test_slow_clients.py
  tests/integration/ingest/test_changed_secrets.py
)
