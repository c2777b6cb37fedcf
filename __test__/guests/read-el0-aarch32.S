// SPDX-License-Identifier: Apache-2.0 OR MIT
// AArch32 EL0 loads from the poisoned page: a data abort from a lower level, taken at vector 0x600.
// Without AArch32 at EL0 the switch ends in an illegal execution state and power-off, no `done`.
#include "runtime.inc"

#define SPSR_USR 0x0d0			// I, F masked; AArch32 User mode

// The assembler speaks A64 here: the A32 instructions are spelled as numbers.
.macro a32_load r, value
	.inst	0xe3000000 | (\r << 12) | (((\value) & 0xf000) << 4) | ((\value) & 0xfff)
	.inst	0xe3400000 | (\r << 12) | (((\value) >> 12) & 0xf0000) | (((\value) >> 16) & 0xfff)
.endm

main:
	puts	"ready\n"
	adr	x0, application
	msr	elr_el1, x0
	mov	x0, #SPSR_USR
	msr	spsr_el1, x0
	mov	x0, #SVC_REPORT
	text	x1, "value="
	eret

application:
	a32_load 3, POISON_DATA
	a32_load 2, MARKER
	.inst	0xe5932000		// ldr r2, [r3]
	.inst	0xef000000		// svc #0: r0 and r1 still say what to print
	a32_load 0, SVC_FINISH
	.inst	0xef000000
