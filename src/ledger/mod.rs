//! The agent's durable memory of jobs.
