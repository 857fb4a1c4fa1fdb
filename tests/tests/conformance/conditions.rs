//! Conditions, phase, readiness (section I of the cases).
