// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 loads from two places of the same poisoned page, one after the other.
#include "runtime.inc"

main:
	puts	"ready\n"
	unmask_serror
	load	x1, POISON_DATA
	mov	x0, #MARKER
	ldr	x0, [x1]
	report	"value=", x0
	mov	x0, #MARKER
	ldr	x0, [x1, #0x20]
	report	"value=", x0
	finish
