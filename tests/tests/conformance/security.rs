//! Security context (section M of the cases).
