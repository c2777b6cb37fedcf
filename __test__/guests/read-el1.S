// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 loads 8 bytes from the poisoned page: a data abort at the current level, taken with SError unmasked.
// An injected abort leaves x0 at its marker; without poison the value is what memory holds.
#include "runtime.inc"

main:
	puts	"ready\n"
	unmask_serror
	load	x1, POISON_DATA
	mov	x0, #MARKER
	ldr	x0, [x1]
	report	"value=", x0
	finish
