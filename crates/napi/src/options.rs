//! `Vm.create()`'s options, checked and completed by the TypeScript side.

use std::path::PathBuf;
use std::time::Duration;

use napi::bindgen_prelude::{BigInt, Either, Uint8Array};
use napi_derive::napi;
use seawall_vmm::{
    BackendOptions, Boot, HugePage, Image, LinuxBoot, MemoryFailurePolicy, NotifyGuest, OnReset,
    RecoverablePolicy, Threshold, ThresholdAction, UnclaimedAccessPolicy, UncontainablePolicy, VmOptions,
};

use crate::error::NativeError;
use crate::esr::word;
use crate::script::{NativeStep, script};

#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeVmOptions {
    pub id: String,
    pub name: Option<String>,
    pub memory: BigInt,
    pub huge_page: Option<NativeHugePage>,
    pub vcpus: u32,
    /// `null` is KVM.
    pub script: Option<Vec<Vec<NativeStep>>>,
    pub boot: NativeBoot,
    pub on_reset: NativeOnReset,
    pub arm_sea_to_user: bool,
    pub arm_nisv_to_user: bool,
    pub recoverable: NativeRecoverable,
    pub uncontainable: NativeUncontainable,
    pub quarantine: bool,
    pub threshold: Option<NativeThreshold>,
    pub same_fault_limit: u32,
    pub notify_guest: NativeNotifyGuest,
    pub defer_ms: u32,
    pub unclaimed_access: NativeUnclaimedAccess,
    pub decision_timeout_ms: u32,
    pub redact: bool,
}

#[napi(
    discriminant = "type",
    discriminant_case = "lowercase",
    object_to_js = false,
    use_nullable = true
)]
pub enum NativeBoot {
    Flat {
        image: Either<String, Uint8Array>,
        load_address: Option<BigInt>,
        entry: Option<BigInt>,
    },
    Linux {
        kernel: String,
        initrd: Option<String>,
        cmdline: Option<String>,
        acpi: bool,
    },
}

#[napi(string_enum = "kebab-case")]
#[derive(Debug)]
pub enum NativeOnReset {
    Exit,
    Restart,
}

#[napi(string_enum)]
#[derive(Debug)]
pub enum NativeHugePage {
    #[napi(value = "2M")]
    Size2M,
    #[napi(value = "1G")]
    Size1G,
}

#[napi(string_enum = "kebab-case")]
#[derive(Debug)]
pub enum NativeUnclaimedAccess {
    Abort,
    Stop,
    ReadZero,
}

#[napi(object, object_to_js = false)]
pub struct NativeThreshold {
    pub distinct_pages: u32,
    pub action: NativeThresholdAction,
}

#[napi(string_enum = "kebab-case")]
#[derive(Debug)]
pub enum NativeThresholdAction {
    Pause,
    Stop,
    Report,
}

#[napi(string_enum = "kebab-case")]
#[derive(Debug)]
pub enum NativeRecoverable {
    Inject,
    Pause,
    Stop,
}

#[napi(string_enum = "kebab-case")]
#[derive(Debug)]
pub enum NativeUncontainable {
    Pause,
    Stop,
}

#[napi(string_enum = "kebab-case")]
#[derive(Debug)]
pub enum NativeNotifyGuest {
    None,
    Ghes,
    Agent,
}

pub(crate) fn options(options: NativeVmOptions) -> Result<VmOptions, NativeError> {
    Ok(VmOptions {
        id: options.id,
        name: options.name,
        memory: word(&options.memory),
        huge_page: options.huge_page.map(|size| match size {
            NativeHugePage::Size2M => HugePage::Size2M,
            NativeHugePage::Size1G => HugePage::Size1G,
        }),
        vcpus: options.vcpus,
        backend: match options.script {
            Some(vcpus) => BackendOptions::Simulated(script(vcpus)?),
            None => BackendOptions::Kvm,
        },
        boot: match options.boot {
            NativeBoot::Flat {
                image,
                load_address,
                entry,
            } => Boot::Flat {
                image: match image {
                    Either::A(path) => Image::Path(path.into()),
                    Either::B(bytes) => Image::Bytes(bytes.to_vec()),
                },
                load_address: load_address.as_ref().map(word),
                entry: entry.as_ref().map(word),
            },
            NativeBoot::Linux {
                kernel,
                initrd,
                cmdline,
                acpi,
            } => Boot::Linux(LinuxBoot {
                kernel: kernel.into(),
                initrd: initrd.map(PathBuf::from),
                cmdline,
                acpi,
            }),
        },
        on_reset: match options.on_reset {
            NativeOnReset::Exit => OnReset::Exit,
            NativeOnReset::Restart => OnReset::Restart,
        },
        arm_sea_to_user: options.arm_sea_to_user,
        arm_nisv_to_user: options.arm_nisv_to_user,
        memory_failure: MemoryFailurePolicy {
            recoverable: match options.recoverable {
                NativeRecoverable::Inject => RecoverablePolicy::Inject,
                NativeRecoverable::Pause => RecoverablePolicy::Pause,
                NativeRecoverable::Stop => RecoverablePolicy::Stop,
            },
            uncontainable: match options.uncontainable {
                NativeUncontainable::Pause => UncontainablePolicy::Pause,
                NativeUncontainable::Stop => UncontainablePolicy::Stop,
            },
            quarantine: options.quarantine,
            threshold: options.threshold.map(|threshold| Threshold {
                distinct_pages: threshold.distinct_pages.into(),
                action: match threshold.action {
                    NativeThresholdAction::Pause => ThresholdAction::Pause,
                    NativeThresholdAction::Stop => ThresholdAction::Stop,
                    NativeThresholdAction::Report => ThresholdAction::Report,
                },
            }),
            same_fault_limit: options.same_fault_limit,
            notify_guest: match options.notify_guest {
                NativeNotifyGuest::None => NotifyGuest::None,
                NativeNotifyGuest::Ghes => NotifyGuest::Ghes,
                NativeNotifyGuest::Agent => NotifyGuest::Agent,
            },
            defer: Duration::from_millis(options.defer_ms.into()),
        },
        decision_timeout: Duration::from_millis(options.decision_timeout_ms.into()),
        redact: options.redact,
        unclaimed_access: match options.unclaimed_access {
            NativeUnclaimedAccess::Abort => UnclaimedAccessPolicy::Abort,
            NativeUnclaimedAccess::Stop => UnclaimedAccessPolicy::Stop,
            NativeUnclaimedAccess::ReadZero => UnclaimedAccessPolicy::ReadZero,
        },
    })
}
