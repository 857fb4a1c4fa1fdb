//! Termination (section E of the cases).
