#!/usr/bin/env bash
# Licenses, wildcard versions and sources of all dependencies against deny.toml: of the crate and of each
# binding. Needs cargo-deny: `cargo install --locked cargo-deny`; it was written with 0.20.2.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
for crate in . bindings/candle bindings/burn bindings/c; do
  echo "$crate:"
  cargo deny --log-level error --locked --manifest-path "$crate/Cargo.toml" --config deny.toml check licenses bans sources || failed=1
done
exit $failed
