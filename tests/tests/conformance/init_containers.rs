//! Init containers (section C of the cases).
