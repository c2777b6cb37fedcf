// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 loads from the poisoned page with SError masked: a SEA is taken all the same. Where KVM pends an SError instead,
// the load is retried until the poison is gone, and ISR_EL1 then shows the pending SError (bit 8).
#include "runtime.inc"

main:
	puts	"ready\n"
	load	x1, POISON_DATA
	mov	x0, #MARKER
	ldr	x0, [x1]
	report	"value=", x0
	mrs	x0, isr_el1
	report	"isr=", x0
	finish
