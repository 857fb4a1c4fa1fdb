//! Command, environment, configuration (section K of the cases).
