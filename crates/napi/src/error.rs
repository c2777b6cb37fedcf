//! The one place where an error becomes a value for JavaScript.

use napi_derive::napi;
use seawall_vmm::VmError;

/// A failed operation. `errorCode` is the stable code; no other result has a field of that name.
#[napi(object, object_from_js = false, use_nullable = true)]
#[derive(Debug, Clone)]
pub struct NativeError {
    pub error_code: String,
    pub message: String,
    pub syscall: Option<String>,
    pub errno: Option<String>,
}

impl From<&VmError> for NativeError {
    fn from(error: &VmError) -> Self {
        Self {
            error_code: error.code().to_owned(),
            message: error.to_string(),
            syscall: error.syscall().map(ToOwned::to_owned),
            errno: error.errno().map(|errno| errno.to_string()),
        }
    }
}

impl NativeError {
    pub(crate) fn invalid_option(message: String) -> Self {
        Self {
            error_code: "ERR_INVALID_OPTION".to_owned(),
            message,
            syscall: None,
            errno: None,
        }
    }
}
