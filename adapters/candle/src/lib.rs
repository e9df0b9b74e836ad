//! The guide `docs/linking/candle.md` as tests. `tests/` holds the model against candle's own.

#[cfg(doctest)]
#[doc = include_str!("../../../docs/linking/candle.md")]
struct Guide;
