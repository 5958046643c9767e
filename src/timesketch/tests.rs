//! The client against stub servers that misbehave.
