//! Volumes (section L of the cases).
