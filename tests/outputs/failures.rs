//! Outputs and inputs that fail.
