//! Lifecycle hooks (section G of the cases).
