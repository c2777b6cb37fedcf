// SPDX-License-Identifier: Apache-2.0 OR MIT
// Loads from the poisoned page COUNT times without printing, then reports how many loads aborted. For benchmarks.
#include "runtime.inc"

#ifndef COUNT
#define COUNT 2000
#endif

main:
	init_cpu 0, rt_counting_vectors
	puts	"ready\n"
	load	x0, COUNT
	load	x1, POISON_DATA
	mov	x20, #0
1:	ldr	x2, [x1]
	subs	x0, x0, #1
	b.ne	1b
	report	"aborts=", x20
	finish
