// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 loads from the poisoned page, then touches it again in other ways: with and without a syndrome to emulate it from.
#include "runtime.inc"

main:
	puts	"ready\n"
	unmask_serror
	load	x1, POISON_DATA
	ldr	x2, [x1]
	str	x2, [x1, #0x10]		// a store
	ldrb	w2, [x1, #0x21]		// a byte
	add	x3, x1, #0x30
	ldp	x4, x5, [x3]		// a pair
	add	x3, x1, #0x40
	ldr	x4, [x3], #8		// with write-back
	add	x3, x1, #0x50
	stp	x4, x5, [x3]		// a pair of stores
	add	x3, x1, #0x60
	ldxr	x4, [x3]		// exclusive
	finish
