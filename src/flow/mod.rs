//! Flows: which packets belong together, and the identifier other tools know them by.

pub mod community_id;
