#!/usr/bin/env bash
# Generates crown/**/_pb2*, buf/**/_pb2* and gateway/crown.binpb from protos/. With --check: generates into a
# scratch folder and fails when the committed files differ, without touching them. Either way it fails on an RPC without
# a good access rule.
set -euo pipefail
cd "$(dirname "$0")/.."
# protoc finds its plugins on the path.
PATH=$PWD/.venv/bin:$PATH
export LC_ALL=C

# google/ is not generated: it comes in the googleapis-common-protos wheel.
mapfile -t protos < <(find protos/crown protos/buf -name '*.proto' | sort)
mapfile -t services < <(find protos/crown -name '*_service.proto' | sort)
# What the gateway knows: not what others implement for us.
mapfile -t served < <(printf '%s\n' "${services[@]}" | grep -v /filter_service.proto)

generate() { # into folder $1
  mkdir -p "$1/gateway"
  python -m grpc_tools.protoc -I protos --python_out="$1" --mypy_out="quiet:$1" "${protos[@]}"
  # A run of its own: otherwise each file without a service gets an empty _pb2_grpc.py.
  python -m grpc_tools.protoc -I protos --grpc_python_out="$1" --mypy_grpc_out="quiet:$1" "${services[@]}"
  # Packages, so that they get into the wheel.
  find "$1/crown/notification" "$1/buf" -type d -not -name __pycache__ -exec touch {}/__init__.py \;
  # With the types of error details: the transcoder answers an error whose details it does not know with no body.
  python -m grpc_tools.protoc -I protos --include_imports --descriptor_set_out="$1/gateway/crown.binpb" \
    "${served[@]}" protos/google/rpc/error_details.proto protos/crown/notification/v1/error_reason.proto
}

rules() { # of the contract, with what others implement for us; needs the generated code
  local all
  all=$(mktemp)
  python -m grpc_tools.protoc -I protos --include_imports --descriptor_set_out="$all" "${services[@]}"
  python -m tools.access_rules "$all" || { rm "$all"; echo "proto: an access rule is missing or wrong" >&2; exit 1; }
  rm "$all"
}

generated() { # below folder $1
  (cd "$1" && find crown/notification buf gateway/crown.binpb -type f -not -path '*/__pycache__/*' | sort)
}

if [ "${1:-}" != --check ]; then
  find crown/notification buf -name '*_pb2*.py*' -delete
  generate .
  rules
  exit
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
generate "$scratch"
differs=0
diff <(generated .) <(generated "$scratch") || differs=1
while read -r file; do
  cmp --silent "$file" "$scratch/$file" || { echo "$file is not what protos/ gives" >&2; differs=1; }
done < <(generated "$scratch")
[ "$differs" = 0 ] || { echo "check-proto: run 'make proto' and commit what it changes" >&2; exit 1; }
rules
