// SPDX-License-Identifier: Apache-2.0 OR MIT
// A load, a store, cache maintenance and a call, each in a page of its own from the poisoned page on: at EL1, then the
// same in the next four pages at EL0.
#include "runtime.inc"

#define SCTLR_UCI (1 << 26)		// cache maintenance at EL0

.macro next_page
	add	x3, x3, #1, lsl #12
.endm

// x3: the first of four pages, and then the one after them.
.macro four_accesses
	mov	x4, #MARKER
	ldr	x4, [x3, #0x10]
	next_page
	str	x4, [x3, #0x10]
	next_page
	sys	#3, c7, c12, #1, x3	// DC CVAP, the one that QEMU does not make a no-op
	next_page
	blr	x3
	next_page
.endm

main:
	mrs	x0, sctlr_el1
	orr	x0, x0, #SCTLR_UCI
	msr	sctlr_el1, x0
	isb
	puts	"ready\n"
	unmask_serror
	load	x3, POISON_PAGE
	four_accesses
	enter_el0 application

application:
	four_accesses
	el0_finish
