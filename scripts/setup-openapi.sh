#!/bin/sh
# Sets up the validator of OpenAPI documents that the end-to-end tests run: a Python environment of
# its own in target/openapi. Silent when it is there.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/openapi
wanted="openapi-spec-validator==0.9.0 jsonschema==4.26.0"

[ "$(cat "$target/wanted" 2>/dev/null || true)" = "$wanted" ] && exit 0

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  command -v apt-get >/dev/null || { echo "setup-openapi: install Python 3 with its venv module" >&2; exit 1; }
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "setup-openapi: installing python3-venv"
  $sudo apt-get update -q
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3 python3-venv
fi

echo "setup-openapi: installing $wanted"
rm -rf "$target"
python3 -m venv "$target"
# shellcheck disable=SC2086 # several packages
"$target/bin/pip" install --quiet --disable-pip-version-check $wanted
echo "$wanted" >"$target/wanted"
