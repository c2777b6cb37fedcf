// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 uses the page, then loads from it until a load aborts: the host may arm and zap the page whenever it likes.
#include "runtime.inc"

main:
	init_cpu 0, rt_counting_vectors
	load	x1, POISON_DATA
	mov	x0, #MARKER
	str	x0, [x1]
	puts	"ready\n"
	mov	x20, #0
1:	ldr	x0, [x1]
	cbz	x20, 1b
	report	"value=", x0
	report	"aborts=", x20
	finish
