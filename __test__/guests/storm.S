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
	all_at	secondary

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
