#!/usr/bin/env bash
# Licenses, wildcard versions and sources of all dependencies against deny.toml: of the crate, the C interface and the
# adapters. Needs cargo-deny: `cargo install --locked cargo-deny`. 0.20.2 is what it was written with.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
for crate in . capi adapters/candle adapters/burn; do
  echo "$crate:"
  cargo deny --log-level error --locked --manifest-path "$crate/Cargo.toml" --config deny.toml check licenses bans sources || failed=1
done
exit $failed
