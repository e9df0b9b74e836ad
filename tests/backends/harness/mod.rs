//! What every property needs: backends, random cases, arrays with guard values, and error bounds.

pub mod arrays;
pub mod backends_under_test;
pub mod case;
pub mod error_analysis;
pub mod error_ratio;
pub mod random;
pub mod shapes;
