//! Crash-loop back-off and image pulls (section F of the cases).
