//! Resources, OOM, resize (section N of the cases).
