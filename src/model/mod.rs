//! The thin model wrapper: published checkpoints, state and generation, generic over [`Backend`](crate::Backend).
