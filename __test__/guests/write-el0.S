// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL0 stores 8 bytes to the poisoned page.
#include "runtime.inc"

main:
	puts	"ready\n"
	enter_el0 application

application:
	load	x3, POISON_DATA
	mov	x4, #MARKER
	str	x4, [x3]
	el0_finish
