//! `argmax`: see [`forward`].

mod forward;
