//! client-protocol
