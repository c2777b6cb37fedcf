// SPDX-License-Identifier: Apache-2.0 OR MIT
// Waits for interrupts for ever, SError unmasked: a vCPU that sleeps in the kernel.
#include "runtime.inc"

main:
	puts	"ready\n"
	unmask_serror
1:	wfi
	b	1b
