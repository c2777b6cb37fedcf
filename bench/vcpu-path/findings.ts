/** What was found on the vCPU's path. The numbers in it are those of the profiles that it is about. */
export const FINDINGS = `### The system calls of a memory error

Six for a repeated one, with quarantine and notification off. There were nine before.

- KVM_RUN: the guest runs, and leaves with the error.
- KVM_GET_ONE_REG of PC: the event says who consumed the error, and \`sameFaultLimit\` counts the aborts at one
  instruction.
- KVM_GET_ONE_REG of PSTATE: whether it was an application or the kernel, which the verdict depends on.
- KVM_SET_VCPU_EVENTS: the injection.
- KVM_GET_ONE_REG of PC: whether it happened: KVM may do nothing and say success.
- KVM_GET_ONE_REG of ESR_EL1: what the guest’s handler will read: where that is not what the processor reported, ESR_EL1
  is written and read back, and FAR_EL1 is written where FnV says that it holds no address.

PSTATE was read twice more: for the plan, and for the check of the mode. A sentinel was written to ESR_EL1 before the
injection, and what it replaced was read before that; now PC says whether KVM entered the handler. The sentinel is still
needed where PC has not moved, which may come at the next KVM_RUN (before Linux 6.17), and for an access at an address where
a vector may lie (a multiple of 128), because there PC may stay where it is.

The first error of a page takes seven more, all of them for the quarantine: mmap, madvise twice and mlock hold the page;
UFFDIO_REGISTER, madvise and UFFDIO_POISON take it out of everybody’s reach.

To tell the guest as well, by a record of ACPI with the abort of its application, takes one more: rt_sigaction. The record is
handed over in five copies, and before the first of them Seawall asks whether the handler of SIGBUS is still its own: without it
a memory error in the region of the records would be the end of the process. Of 200 records 35 took a futex as well, which
wakes the control thread: it looks whether the guest has read.

The loop in C takes none for that: it writes where its own mapping is, protected from nothing, and looks at the next error
whether the guest has read. Each guest keeps what it reads, and the measurement fails where the records of the two differ in
a byte, where a page was not told with its abort, or where the guest has not read of it.

### What limits it

- **Repeated memory error, against the fewest system calls**: each KVM_GET_ONE_REG costs 1,650 of the 11,000
  instructions of the shortest way through the kernel, and there are four. One alone costs more than the target leaves.
  An event without PC and PSTATE, and an injection that nobody has looked at, would come close to it.
- **Repeated memory error, against the same system calls**: of 19,210 instructions 17,480 are the kernel’s and the
  guest’s, the same on both sides, to the instruction. 1,730 are Seawall’s in user space: 515 look at the error, plan the
  abort, see that it happened, and tell it; 340 are the ledger and the verdict; 270 the six calls and what they answer; 235
  the allocation of the event’s record, which another thread frees; 135 its two clocks; 120 the queue; 90 the loop; 25 the
  atomics of two locks. The loop in C takes 120 there: it keeps no ledger, decides nothing and tells nobody. The target leaves
  650: without the allocation, the clocks and the queue 1,240 would be left.
- **Load from a device**: 140 instructions in user space, where the loop in C takes 26 for a constant. They are the run, the
  loop around it with its gate and its counters, and what LSR reads, which a guest that polls gets without a lock.
- **Store to a device**: 180. The byte goes into the console’s queue, behind the one lock that is left.
- **decide**: the echo of **before** answered by a second call, and took 24,128 instructions. What is
  left is two thread switches on one processor, as in the echo, and what JavaScript does besides: the failure becomes an
  object, and the event that follows the answer is taken from the ring. How long the threads wait for each other is not
  the same in every run: one after the other, the addon of before the last changes took 66,512 for a decided
  error in all, and that of after them 65,936; the run of this table took more.
- **First memory error of a page**: it is not the same in every run either: 60,704 and 60,576 in those two.
- **First memory error of a page, with everything on**: in C the record costs next to nothing, because the guest’s own
  reading of it is in both times. Seawall takes the call, the locks of the sources, its notes of what the guest was told and has
  read, and the record’s making. It takes the same for the first hundred pages and for the fifth.

### What made it faster

- at first: a repeated memory error 25,024, a load from a device 8,960.
- the run page hands out the member of its union that the exit names; the UART’s registers are not copied; errno is
  asked for only after a failure; PSTATE is read once; PC instead of the sentinel: a repeated memory error 19,824, a
  load from a device 8,736.
- the event’s record is made once and moved, not copied; the ledger looks a known page up once; the clock for a new page
  alone; no lock to ask whether the transmitter is busy: a repeated memory error 19,328, a load from a device 8,704.
- a failure that is kept is moved as a box; KVM_GET_ONE_REG of 64 bits is one call and nothing else; an exit is not
  copied; a look at LSR that changes nothing asks the console nothing; the console takes a byte as a byte: a repeated
  memory error 19,277 (from 19,440, which it had come to), a load from a device 8,655, a store 8,895 (from 8,976).
- an event is made where it is kept; of a syndrome only what is asked for is decoded: a repeated memory error 19,216.
- the control thread was woken for each record, and looked before the guest had read it; it went through all lost pages for
  that. Now it is woken where it would not look within a millisecond anyway, and copies the pages alone that the guest may
  have read of since: the first memory error of a page with everything on 76,384 (from 112,336, and more the more pages were
  lost), 18 calls (from 19).
- a guest that polls the console’s UART takes no lock of it: what LSR reads, and whether a byte changes nothing but the console’s
  queue, is noted when the UART is unlocked; after an access that a device has served nothing else is looked at; a vCPU finds
  its place at the gate and its counters once, not for each exit; what a KVM_RUN that failed means stands by itself: a load
  from a device 8,560 (from 8,656), a store 8,752 (from 8,896).
- one look at the handler of SIGBUS for a record, not five; the record is made in memory of the right size, which had grown nine
  times; eight bytes of it are copied as one access: the first memory error of a page with everything on 64,608 (from 72,512,
  in runs of 100 errors), 14 calls (from 18).
- where nobody is told of error records, none are looked after: a repeated memory error 19,216 (from 19,232).

The reference of **before** made the nine system calls that Seawall made then.

How it was found: QEMU’s log of every instruction (\`one-insn-per-tb\`, \`log exec\`) of one round trip, by kernel function and
by address in the addon.`
