//! Claims about shipping, against a server that misbehaves on demand.
