//! Tests of the dispatcher: what must hold whatever happens, in any order.
use super::*;
