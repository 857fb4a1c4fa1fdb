//! Changes of a running Pod, deadlines, ephemeral containers (section P of the cases).
