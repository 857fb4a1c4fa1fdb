//! Restart policy and exit status (section A of the cases).
