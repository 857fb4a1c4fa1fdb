//! Termination messages (section J of the cases).
