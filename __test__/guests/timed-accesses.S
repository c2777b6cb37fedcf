// SPDX-License-Identifier: Apache-2.0 OR MIT
// Does one thing many times and writes down how long each time took, in ticks of CNTVCT_EL0; prints nothing. For benchmarks.
//
// In, as registers: x0 how often, x2 the address of the first access, x3 how far it is from there to the next, x4 where the
// times go, 8 bytes each, x5 what is done: 0 a load of 8 bytes that aborts, 1 a load of a byte, 2 a store of a byte, 3 a loop
// of SPIN instructions and no access.
#include "runtime.inc"

#define SPIN 100000

.macro timed access:vararg
1:	isb
	mrs	x21, cntvct_el0
	\access
	isb
	mrs	x22, cntvct_el0
	sub	x22, x22, x21
	str	x22, [x4], #8
	add	x2, x2, x3
	subs	x0, x0, #1
	b.ne	1b
	b	rt_off
.endm

main:
	init_cpu 0, rt_counting_vectors
	cmp	x5, #1
	b.lo	aborts
	b.eq	loads
	cmp	x5, #3
	b.lo	stores
	b	spins

aborts:	timed	ldr x6, [x2]
loads:	timed	ldrb w6, [x2]
stores:	timed	strb w0, [x2]
spins:	timed	bl spin

spin:
	load	x6, SPIN / 2
1:	subs	x6, x6, #1
	b.ne	1b
	ret
