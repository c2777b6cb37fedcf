// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL0 loads 8 bytes from the poisoned page: a data abort from a lower level, taken at vector 0x400.
#include "runtime.inc"

main:
	puts	"ready\n"
	enter_el0 application

application:
	load	x3, POISON_DATA
	mov	x4, #MARKER
	ldr	x4, [x3]
	el0_report "value=", x4
	el0_finish
