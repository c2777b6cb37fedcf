// SPDX-License-Identifier: Apache-2.0 OR MIT
// Up to four vCPUs load from the poisoned page, all at the same time, and do nothing else; then they wait.
//
// In, as registers of vCPU 0: x0 how often each loads, x2 how many vCPUs there are.
#include "runtime.inc"

#define LOADS (RAM_BASE + 0x1f0000)

main:
	load	x10, LOADS
	str	x0, [x10]
	mov	x11, x2
	mov	x12, #1
1:	cmp	x12, x11
	b.hs	2f
	mov	x1, x12			// the target's MPIDR
	adr	x2, secondary
	mov	x3, x12			// what it finds in x0
	psci	PSCI_CPU_ON
	add	x12, x12, #1
	b	1b
2:	mov	x0, #0

secondary:
	load	x1, STACK_TOP
	sub	x1, x1, x0, lsl #12
	mov	sp, x1
	adr	x1, rt_counting_vectors
	msr	vbar_el1, x1
	isb
	load	x10, LOADS
	ldr	x9, [x10]
	load	x1, POISON_DATA
	mov	x20, #0
1:	ldr	x2, [x1]
	subs	x9, x9, #1
	b.ne	1b
2:	wfi
	b	2b
