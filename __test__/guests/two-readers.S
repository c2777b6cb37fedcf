// SPDX-License-Identifier: Apache-2.0 OR MIT
// Two vCPUs load from the poisoned page at the same time, COUNT times each; then each one's aborts are reported.
#include "runtime.inc"

#ifndef COUNT
#define COUNT 200
#endif

main:
	init_cpu 0, rt_counting_vectors
	puts	"ready\n"
	mov	x1, #1			// the target's MPIDR
	adr	x2, second
	mov	x3, #0
	psci	PSCI_CPU_ON
	bl	read
	adr	x1, result
1:	ldr	x2, [x1, #8]		// vCPU 1 has finished
	cbz	x2, 1b
	dmb	sy
	ldr	x2, [x1]
	report	"cpu=0 aborts=", x20
	report	"cpu=1 aborts=", x2
	finish

second:
	init_cpu 1, rt_counting_vectors
	bl	read
	adr	x1, result
	str	x20, [x1]
	dmb	sy
	mov	x2, #1
	str	x2, [x1, #8]
	b	.

read:
	load	x0, COUNT
	load	x1, POISON_DATA
	mov	x20, #0
1:	ldr	x2, [x1]
	subs	x0, x0, #1
	b.ne	1b
	ret

	.balign	16
result:
	.quad	0, 0
