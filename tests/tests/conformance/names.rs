//! Namespaces, names, hosts (section O of the cases).
