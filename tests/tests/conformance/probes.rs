//! Probes (section H of the cases).
