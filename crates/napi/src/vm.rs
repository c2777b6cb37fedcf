//! The class behind `Vm`.

use std::sync::Arc;

use napi::bindgen_prelude::{BigInt, Buffer, BufferSlice, Either, Object, Uint8Array};
use napi::{Env, Result};
use napi_derive::napi;
use seawall_vmm::{Answer, AnswerOutcome, Reply, Vm, VmError, VmStats};

use crate::decision::{NativeAbortRequest, NativeDecision, NativeFallbackReason, from_number};
use crate::error::NativeError;
use crate::esr::word;
use crate::event::{NativeBatch, NativeExit, batch};
use crate::failure::{Injection, PoisonedPage, failure_record};
use crate::listener::{Machine, NativeListener};
use crate::options::{NativeVmOptions, options};
use crate::record::RECORD;
use crate::registry;

/// A virtual machine.
#[napi]
#[derive(Debug)]
pub struct NativeVm {
    vm: Arc<Vm>,
}

/// What was closed.
#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct NativeClosed {
    pub unretired_host_pages: i64,
}

/// What was counted so far.
#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct NativeStats {
    pub exits: Vec<ExitCount>,
    #[napi(ts_type = "bigint")]
    pub failures: u64,
    #[napi(ts_type = "bigint")]
    pub delivered: u64,
    #[napi(ts_type = "bigint")]
    pub lost: u64,
    #[napi(ts_type = "bigint")]
    pub console_bytes_lost: u64,
    pub decisions: DecisionCounts,
}

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct ExitCount {
    pub name: &'static str,
    #[napi(ts_type = "bigint")]
    pub count: u64,
}

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct DecisionCounts {
    #[napi(ts_type = "bigint")]
    pub asked: u64,
    #[napi(ts_type = "bigint")]
    pub late: u64,
    #[napi(ts_type = "bigint")]
    pub fallback: u64,
    #[napi(ts_type = "bigint")]
    pub waited_ns: u64,
}

impl From<VmStats> for NativeStats {
    fn from(stats: VmStats) -> Self {
        let exits = stats.exits.into_iter();
        Self {
            exits: exits.map(|(name, count)| ExitCount { name, count }).collect(),
            failures: stats.failures,
            delivered: stats.delivered,
            lost: stats.lost,
            console_bytes_lost: stats.console_bytes_lost,
            decisions: DecisionCounts {
                asked: stats.decisions.asked,
                late: stats.decisions.late,
                fallback: stats.decisions.fallback,
                waited_ns: u64::try_from(stats.decisions.waited.as_nanos()).unwrap_or(u64::MAX),
            },
        }
    }
}

/// Makes a promise, and the function that fulfils it from any thread.
///
/// A failed operation fulfils it too, with a [`NativeError`]: a rejection would lose the code.
fn promise<'env, T, J>(
    env: &'env Env,
    convert: impl FnOnce(T) -> J + Send + 'static,
) -> Result<(Reply<T>, Object<'env>)>
where
    T: Send + 'static,
    J: napi::bindgen_prelude::ToNapiValue + 'static,
{
    let (deferred, promise) = env.create_deferred()?;
    let settle = move |result: std::result::Result<T, VmError>| {
        deferred.resolve(move |_| {
            Ok(match result {
                Ok(value) => Either::A(convert(value)),
                Err(error) => Either::B(NativeError::from(&error)),
            })
        });
    };
    Ok((Box::new(settle), promise))
}

/// Creates a virtual machine. `listener` is told, by the number of the machine, when there is something to drain, and where
/// `asks` is true of each failure that is to be decided.
#[napi(catch_unwind, ts_return_type = "Promise<NativeVm | NativeError>")]
pub fn create_vm<'env>(
    env: &'env Env,
    native: NativeVmOptions,
    listener: &NativeListener,
    machine: u32,
    asks: bool,
) -> Result<Object<'env>> {
    let machines = registry::hook(env)?;
    let (deferred, promise) = env.create_deferred()?;
    let settle = move |result: std::result::Result<Arc<Vm>, NativeError>| {
        deferred.resolve(move |_| {
            Ok(match result {
                Ok(vm) => Either::A(NativeVm { vm }),
                Err(error) => Either::B(error),
            })
        });
    };
    match options(native) {
        Err(error) => settle(Err(error)),
        Ok(options) => {
            let machine = Machine::new(&listener.listener, machine);
            let ask = asks.then(|| -> seawall_vmm::Ask {
                let machine = Arc::clone(&machine);
                Box::new(move |seq, failure| machine.ask(seq, failure))
            });
            let ready = Arc::clone(&machine);
            let wake = move || ready.ready();
            let reply = move |result: std::result::Result<Vm, VmError>| {
                let added = result.and_then(|vm| machines.add(vm));
                if let Ok(vm) = &added {
                    machine.set_vm(vm);
                }
                settle(added.map_err(|error| NativeError::from(&error)));
            };
            registry::keep(Vm::create(options, Box::new(wake), ask, Box::new(reply)));
        }
    }
    Ok(promise)
}

const fn outcome(outcome: AnswerOutcome) -> &'static str {
    match outcome {
        AnswerOutcome::Accepted => "accepted",
        AnswerOutcome::Late(_) => "late",
        AnswerOutcome::Unknown => "unknown",
    }
}

#[napi]
impl NativeVm {
    #[napi(catch_unwind, ts_return_type = "Promise<null | NativeError>")]
    pub fn start<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, |()| napi::bindgen_prelude::Null)?;
        self.vm.start(settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<null | NativeError>")]
    pub fn pause<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, |()| napi::bindgen_prelude::Null)?;
        self.vm.pause(settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<null | NativeError>")]
    pub fn resume<'env>(&self, env: &'env Env, decisions: Vec<NativeDecision>) -> Result<Object<'env>> {
        let decisions = decisions
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<_>>()?;
        let (settle, promise) = promise(env, |()| napi::bindgen_prelude::Null)?;
        self.vm.resume(decisions, settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<NativeExit | NativeError>")]
    pub fn stop<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, |exit| NativeExit::from(&exit))?;
        self.vm.stop(settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<NativeExit | NativeError>")]
    pub fn wait<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, |exit| NativeExit::from(&exit))?;
        self.vm.wait(settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<NativeClosed | NativeError>")]
    pub fn close<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, |closed: seawall_vmm::ClosedVm| {
            registry::forget_finished();
            NativeClosed {
                unretired_host_pages: i64::try_from(closed.unretired_host_pages).unwrap_or(i64::MAX),
            }
        })?;
        self.vm.close(settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<bigint | NativeError>")]
    pub fn get_register<'env>(&self, env: &'env Env, vcpu: u32, name: String) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, BigInt::from)?;
        self.vm.get_register(vcpu, &name, settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<null | NativeError>")]
    pub fn set_register<'env>(
        &self,
        env: &'env Env,
        vcpu: u32,
        name: String,
        value: BigInt,
    ) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, |()| napi::bindgen_prelude::Null)?;
        self.vm.set_register(vcpu, &name, word(&value), settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Injection | NativeError>")]
    pub fn inject_abort<'env>(
        &self,
        env: &'env Env,
        vcpu: u32,
        request: NativeAbortRequest,
    ) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, |injection| Injection::from(&injection))?;
        self.vm.inject_abort(vcpu, request.into(), settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Injection | NativeError>")]
    pub fn inject_serror<'env>(&self, env: &'env Env, vcpu: u32, iss: Option<u32>) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, |injection| Injection::from(&injection))?;
        self.vm.inject_serror(vcpu, iss, settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<null | NativeError>")]
    pub fn report_poison<'env>(&self, env: &'env Env, gpa: BigInt, length: BigInt) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, |()| napi::bindgen_prelude::Null)?;
        self.vm.report_poison(word(&gpa), word(&length), settle);
        Ok(promise)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<null | NativeError>")]
    pub fn replace_page<'env>(&self, env: &'env Env, gpa: BigInt) -> Result<Object<'env>> {
        let (settle, promise) = promise(env, |()| napi::bindgen_prelude::Null)?;
        self.vm.replace_page(word(&gpa), settle);
        Ok(promise)
    }

    /// The failures whose abort waits, as records.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn pending_failures(&self) -> Buffer {
        let pending = self.vm.pending_failures();
        let mut records = vec![0; pending.len() * RECORD];
        for ((seq, failure), room) in pending.iter().zip(records.chunks_exact_mut(RECORD)) {
            // A failure without its outcome has no texts.
            failure_record(*seq, failure).copy_to(room);
        }
        records.into()
    }

    /// Answers a question that was not answered at once; says what became of the answer.
    #[napi(catch_unwind, ts_return_type = "'accepted' | 'late' | 'unknown'")]
    #[must_use]
    pub fn respond(&self, failure: u32, decision: f64) -> &'static str {
        // A number that is no decision answers nothing.
        from_number(decision).map_or("unknown", |decision| {
            outcome(self.vm.answer(failure.into(), Answer::Decision(decision)))
        })
    }

    /// Says that there is no answer to a question, and why.
    #[napi(catch_unwind, ts_return_type = "'accepted' | 'late' | 'unknown'")]
    #[must_use]
    pub fn respond_failure(&self, failure: u32, reason: NativeFallbackReason, error: String) -> &'static str {
        outcome(
            self.vm
                .answer(failure.into(), Answer::Failed(reason.into(), error)),
        )
    }

    #[napi(getter, catch_unwind)]
    #[must_use]
    pub fn state(&self) -> &'static str {
        self.vm.state().name()
    }

    /// Takes the oldest `max` events, or as many as there is room for in `records`, and says which were lost before them.
    /// Memory failures go into `records`.
    #[napi(catch_unwind, ts_return_type = "number | NativeBatch")]
    #[must_use]
    pub fn take_events(&self, max: u32, mut records: BufferSlice<'_>) -> Either<u32, NativeBatch> {
        let max = (records.len() / RECORD).min(max as usize);
        batch(self.vm.take_events_up_to(max), &mut records)
    }

    /// Takes console output, up to `max` bytes.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn take_console(&self, max: u32) -> Buffer {
        self.vm.take_console(max as usize).into()
    }

    /// Says that nobody reads the console any more.
    #[napi(catch_unwind)]
    pub fn release_console(&self) {
        self.vm.release_console();
    }

    #[napi(catch_unwind)]
    #[must_use]
    pub fn read_memory(&self, gpa: BigInt, length: u32) -> Either<Buffer, NativeError> {
        match self.vm.read_memory(word(&gpa), length as usize) {
            Ok(bytes) => Either::A(bytes.into()),
            Err(error) => Either::B(NativeError::from(&error)),
        }
    }

    #[napi(catch_unwind)]
    #[must_use]
    pub fn write_memory(&self, gpa: BigInt, data: Uint8Array) -> Option<NativeError> {
        self.vm
            .write_memory(word(&gpa), &data)
            .err()
            .as_ref()
            .map(NativeError::from)
    }

    #[napi(catch_unwind)]
    #[must_use]
    pub fn poisoned_pages(&self) -> Vec<PoisonedPage> {
        self.vm.poisoned_pages().iter().map(PoisonedPage::from).collect()
    }

    /// What was counted so far, also of a VM that is closed.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn stats(&self) -> NativeStats {
        self.vm.stats().into()
    }

    /// Returns how many bytes the guest's UART took.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn console_input(&self, input: Uint8Array) -> Either<u32, NativeError> {
        match self.vm.console_input(&input) {
            Ok(taken) => Either::A(u32::try_from(taken).unwrap_or(u32::MAX)),
            Err(error) => Either::B(NativeError::from(&error)),
        }
    }

    /// For how many bytes of console input there is room.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn console_input_room(&self) -> u32 {
        u32::try_from(self.vm.console_input_room()).unwrap_or(u32::MAX)
    }
}
