// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 loads through a stage-1 table that lies in the poisoned page: the table walk consumes the error, at level 2.
// Without poison the table is empty and the load ends in a translation fault (esr 0x96000006).
#include "runtime.inc"

#ifndef BEFORE
#define BEFORE
#endif
#ifndef ACCESS
#define ACCESS ldr x0, [x1]
#endif
#ifndef LEVEL2_TABLE
#define LEVEL2_TABLE POISON_PAGE
#endif
#define LEVEL1_TABLE (RAM_BASE + 0x202000)
#define BLOCK 0x401			// valid, access flag, readable and writable at EL1
#define DEVICE (0 << 2)
#define NORMAL (1 << 2)
#define TABLE 3
#define GIB 0x40000000
#define VIRTUAL 0xc0000000		// what the fourth entry maps
#ifndef FOURTH_ENTRY
#define FOURTH_ENTRY (LEVEL2_TABLE | TABLE)
#define ADDRESS (VIRTUAL + 0x10)
#endif

main:
	load	x1, LEVEL1_TABLE	// one entry per GiB: devices, RAM, then what is to be shown
	mov	x2, #BLOCK | DEVICE
	str	x2, [x1]
	load	x2, GIB | BLOCK | DEVICE
	str	x2, [x1, #8]
	load	x2, 2 * GIB | BLOCK | NORMAL
	str	x2, [x1, #16]
	load	x2, FOURTH_ENTRY
	str	x2, [x1, #24]
	msr	ttbr0_el1, x1
	mov	x2, #0x4400		// attribute 0: Device-nGnRnE, 1: Normal, not cached
	msr	mair_el1, x2
	load	x2, 0x800019		// 39-bit addresses, 4 KiB pages, no TTBR1, 4 GiB of physical space
	msr	tcr_el1, x2
	tlbi	vmalle1
	dsb	sy
	isb
	mrs	x2, sctlr_el1
	orr	x2, x2, #1		// MMU on
	msr	sctlr_el1, x2
	isb
	puts	"ready\n"
	unmask_serror
	BEFORE
#ifdef REPORT_ACCESS
	report_access access
#endif
	load	x1, ADDRESS
	mov	x0, #MARKER
#ifdef ALIGNMENT
	.balign	ALIGNMENT
#endif
access:
	ACCESS
	report	"value=", x0
	finish
