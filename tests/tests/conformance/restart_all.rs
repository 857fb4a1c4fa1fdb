//! RestartAllContainers (section B of the cases).
