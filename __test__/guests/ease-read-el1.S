// SPDX-License-Identifier: Apache-2.0 OR MIT
// As read-el1 with SCTLR2_EL1.EASE set: the abort is taken at the SError vector, 0x380. Needs FEAT_DoubleFault2.
#include "runtime.inc"

#define ID_AA64MMFR3_EL1 s3_0_c0_c7_3
#define SCTLR2_EL1 s3_0_c1_c0_3
#define SCTLR2_EASE (1 << 5)

main:
	mrs	x0, ID_AA64MMFR3_EL1
	tst	x0, #0xf		// SCTLRX
	b.eq	missing
	mov	x0, #SCTLR2_EASE
	msr	SCTLR2_EL1, x0
	isb
	mrs	x0, SCTLR2_EL1		// the bit is RES0 without FEAT_DoubleFault2
	tbz	x0, #5, missing
	puts	"ready\n"
	unmask_serror
	load	x1, POISON_DATA
	mov	x0, #MARKER
	ldr	x0, [x1]
	report	"value=", x0
	finish
missing:
	puts	"no EASE\n"
	finish
