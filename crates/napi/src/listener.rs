//! The way from virtual machines to JavaScript: one for all of an environment, so that many that have something to tell wake
//! it once, and a question takes its answer back.

use std::sync::{Arc, OnceLock, Weak};

use napi::bindgen_prelude::{Buffer, FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};
use napi_derive::napi;
use seawall_vmm::{Answer, MemoryFailure, ReadyList, Vm};

use crate::decision::from_number;
use crate::failure::failure_record;
use crate::record::Record;

/// Calls JavaScript with the number of a machine that asks, or less than 0, and has a number back. Weak, so that a waiting
/// virtual machine alone does not keep the process alive.
type Wake = ThreadsafeFunction<Option<Question>, f64, FnArgs<(f64,)>, Status, false, true>;

/// Who is told that virtual machines have something to tell.
#[napi]
pub struct NativeListener {
    pub(crate) listener: Arc<Listener>,
}

pub(crate) struct Listener {
    wake: Wake,
    ready: ReadyList,
}

/// A failure that is to be decided.
struct Question {
    machine: u32,
    failure: Record,
}

/// A virtual machine as the listener knows it.
pub(crate) struct Machine {
    listener: Arc<Listener>,
    /// The number that JavaScript gave it.
    number: u32,
    /// Set before it runs.
    vm: OnceLock<Weak<Vm>>,
}

impl Machine {
    pub(crate) fn new(listener: &Arc<Listener>, number: u32) -> Arc<Self> {
        Arc::new(Self {
            listener: Arc::clone(listener),
            number,
            vm: OnceLock::new(),
        })
    }

    /// Whom to give answers.
    pub(crate) fn set_vm(&self, vm: &Arc<Vm>) {
        self.vm.get_or_init(|| Arc::downgrade(vm));
    }

    /// There is something to drain.
    pub(crate) fn ready(&self) {
        let Listener { wake, ready } = &*self.listener;
        if ready.add(self.number) {
            // A full or closing queue means that nobody listens any more.
            let _status: Status = wake.call(None, ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// Asks what to do about a failure. `false`: nobody can be asked.
    pub(crate) fn ask(self: &Arc<Self>, seq: u64, failure: &MemoryFailure) -> bool {
        let question = Question {
            machine: self.number,
            failure: failure_record(seq, failure),
        };
        let machine = Arc::clone(self);
        let answer = move |number: Result<f64>, _| {
            let vm = machine.vm.get().and_then(Weak::upgrade);
            if let (Some(vm), Some(decision)) = (vm, number.ok().and_then(from_number)) {
                vm.answer(seq, Answer::Decision(decision));
            }
            Ok(())
        };
        let mode = ThreadsafeFunctionCallMode::NonBlocking;
        // A question that is queued when its environment ends is not freed by napi: at most one for each vCPU of a worker.
        let wake = &self.listener.wake;
        wake.call_with_return_value(Some(question), mode, answer) == Status::Ok
    }
}

#[napi]
impl NativeListener {
    /// `wake` is called with the number of a machine that asks, whose failure is in `record` then: it returns the decision as
    /// [`from_number`] reads it. With -1 it is called once until [`Self::take_ready`], when machines have something to drain.
    #[napi(constructor, catch_unwind)]
    pub fn new(mut record: Buffer, wake: Function<'_, FnArgs<(f64,)>, f64>) -> Result<Self> {
        let wake = wake
            .build_threadsafe_function::<Option<Question>>()
            .weak::<true>()
            .build_callback(move |context| {
                let machine = context.value.map_or(-1.0, |question: Question| {
                    // A question has no texts.
                    question.failure.copy_to(&mut record);
                    f64::from(question.machine)
                });
                Ok(FnArgs::from((machine,)))
            })?;
        let listener = Listener {
            wake,
            ready: ReadyList::default(),
        };
        Ok(Self {
            listener: Arc::new(listener),
        })
    }

    /// The machines that have had events or console output since they were last drained.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn take_ready(&self) -> Vec<u32> {
        self.listener.ready.take()
    }
}
