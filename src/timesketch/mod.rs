//! Timesketch's HTTP interface, as far as delivery needs it. It knows nothing of jobs, slices and folders.
