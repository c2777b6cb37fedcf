//! The Node-API binding: it converts, and does nothing else.
//!
//! No policy, no defaults, no validation lives here. Names and field order are those of the public TypeScript API; `null`
//! is "none", `undefined` would be a bug, 64-bit values are `bigint`. An operation that can fail answers with its value or
//! with a `NativeError`; the TypeScript side makes the `SeawallError`.

// What the napi macros generate is unsafe; this crate writes no unsafe code of its own.
#![allow(unsafe_code)]
// The macros want `pub` on what JavaScript sees, in a crate that exports nothing to Rust; the documentation is that of
// the TypeScript API.
#![allow(unreachable_pub, missing_docs, missing_debug_implementations)]
// Under `cfg(test)` the macros register nothing, so that everything looks unused. This crate has no tests of its own.
#![cfg_attr(test, allow(dead_code))]

mod decision;
mod error;
mod esr;
mod event;
mod failure;
mod listener;
mod options;
mod probe;
mod record;
mod registry;
mod script;
mod version;
mod vm;
