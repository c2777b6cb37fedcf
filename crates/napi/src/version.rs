use napi_derive::napi;

/// The addon's version, which is that of the package it belongs to.
#[napi(catch_unwind)]
#[must_use]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
