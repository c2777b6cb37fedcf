// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 with the MMU on: accesses of which a part lies in the poisoned page and a part in the page before or behind it, and
// one that begins in the last bytes of a RAM of 4 MiB.
#define FOURTH_ENTRY (2 * GIB | BLOCK | NORMAL)
#define BEFORE_THE_PAGE (VIRTUAL + POISON_PAGE - RAM_BASE - 4)
#define ADDRESS BEFORE_THE_PAGE
#define CPACR_FPEN (3 << 20)
#define BEFORE \
	mov	x2, #CPACR_FPEN; \
	msr	cpacr_el1, x2; \
	isb
#define PAIRS_AND_SINGLES \
	ldr	x0, [x1]; \
	str	x0, [x1]; \
	ldp	x2, x3, [x1]; \
	stp	x2, x3, [x1]; \
	ldr	q0, [x1]
#define ACCESS \
	PAIRS_AND_SINGLES; \
	add	x1, x1, #0x1000; \
	PAIRS_AND_SINGLES; \
	load	x1, VIRTUAL + 0x3ffffc; \
	ldr	x0, [x1]
#include "walk-el1.S"
