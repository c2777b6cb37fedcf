//! `probeHost()`.

use napi_derive::napi;
use seawall_kvm::SupportStatus;

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct HostSupport {
    #[napi(ts_type = "'active' | 'inert' | 'unsupported'")]
    pub status: &'static str,
    pub reasons: Vec<String>,
    pub kernel: String,
    pub capabilities: HostCapabilities,
}

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct HostCapabilities {
    pub arm_sea_to_user: bool,
    pub ras: bool,
    pub inject_ext_dabt: bool,
    pub nisv_to_user: bool,
    pub userfaultfd: bool,
    pub hwpoison: bool,
}

/// Asks the host what it can do.
#[napi(catch_unwind)]
#[must_use]
pub fn probe_host() -> HostSupport {
    let support = seawall_kvm::probe_host();
    let capabilities = support.capabilities;
    HostSupport {
        status: match support.status {
            SupportStatus::Active => "active",
            SupportStatus::Inert => "inert",
            SupportStatus::Unsupported => "unsupported",
        },
        reasons: support.obstacles.iter().map(ToString::to_string).collect(),
        kernel: support.kernel,
        capabilities: HostCapabilities {
            arm_sea_to_user: capabilities.arm_sea_to_user,
            ras: capabilities.ras,
            inject_ext_dabt: capabilities.inject_ext_dabt,
            nisv_to_user: capabilities.nisv_to_user,
            userfaultfd: capabilities.userfaultfd,
            hwpoison: capabilities.hwpoison,
        },
    }
}
