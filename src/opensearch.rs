//! OpenSearch, asked for the one setting that limits searches in Timesketch. It never writes.
