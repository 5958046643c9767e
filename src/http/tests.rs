//! The transport against stub servers that misbehave.
