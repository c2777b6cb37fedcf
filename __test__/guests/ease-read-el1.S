// SPDX-License-Identifier: Apache-2.0 OR MIT
// As read-el1 with SCTLR2_EL1.EASE set: the abort is taken at the SError vector, 0x380. Needs FEAT_DoubleFault2.
#include "runtime.inc"

#define ID_AA64MMFR3_EL1 s3_0_c0_c7_3
#define SCTLR2_EL1 s3_0_c1_c0_3
#define SCTLR2_EASE (1 << 5)

main:
	mrs	x0, ID_AA64MMFR3_EL1
	ubfx	x0, x0, #0, #4
	cbnz	x0, 1f
	puts	"no SCTLR2_EL1\n"
	finish
1:	mov	x0, #SCTLR2_EASE
	msr	SCTLR2_EL1, x0
	isb
	puts	"ready\n"
	unmask_serror
	load	x1, POISON_DATA
	mov	x0, #MARKER
	ldr	x0, [x1]
	report	"value=", x0
	finish
