// SPDX-License-Identifier: Apache-2.0 OR MIT
// Waits with SError masked until one is pending, loads from the poisoned page, reports ISR_EL1, then unmasks and takes it.
#include "runtime.inc"

main:
	puts	"ready\n"
1:	mrs	x0, isr_el1
	tbz	x0, #8, 1b
	load	x1, POISON_DATA
	ldr	x0, [x1]
	mrs	x0, isr_el1
	report	"isr=", x0
	unmask_serror
	isb
	puts	"not taken\n"
	finish
