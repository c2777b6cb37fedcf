// SPDX-License-Identifier: Apache-2.0 OR MIT
// Loads at EL0 from lost pages that it is told of by a record of ACPI with each abort, and writes down how long each load took,
// in ticks of CNTVCT_EL0; prints nothing. For benchmarks. It has the header of a kernel, so that it can be booted as one: then
// there is a place for records.
//
// In, as registers: x0 how often, x2 the address of the first load, x3 how far it is from there to the next, x4 where the times
// go, 8 bytes each, x7 the read acknowledge register, x8 the status block, x9 where the records go that it has read, 172 bytes
// each.

#define IMAGE_SIZE 0x200000	// with the stack
#define RECORD 172
#define RECOVERABLE_ONE 0x11	// block_status: an uncorrectable error, one entry
#define PHYSICAL_ADDRESS 108	// of the one memory error

	.text	0
	b	_start
	.word	0
	.quad	0, IMAGE_SIZE, 0, 0, 0, 0
	.ascii	"ARMd"
	.word	0

#include "runtime.inc"

main:
	init_cpu 0, vectors
	mov	x1, #2			// EL0VCTEN: EL0 reads the counter
	msr	cntkctl_el1, x1
	adr	x1, application
	msr	elr_el1, x1
	mov	x1, #PSTATE_EL0T_SERROR_OPEN
	msr	spsr_el1, x1
	eret

application:
1:	isb
	mrs	x21, cntvct_el0
	ldr	x6, [x2]
	isb
	mrs	x22, cntvct_el0
	sub	x22, x22, x21
	str	x22, [x4], #8
	add	x2, x2, x3
	subs	x0, x0, #1
	b.ne	1b
	svc	#0			// the end

	.text	1
	vector_table vectors, el0_sync=at_el0

	// Reads the record as a kernel does. One that is not of the page that the application needs is left unread.
at_el0:
	mrs	x10, esr_el1
	ubfx	x10, x10, #26, #6
	cmp	x10, #EC_DATA_ABORT
	b.ne	rt_off
	ldr	w10, [x8]
	cmp	w10, #RECOVERABLE_ONE
	b.ne	2f
	ldr	w10, [x8, #PHYSICAL_ADDRESS]
	mrs	x11, far_el1
	and	x11, x11, #~0xfff
	cmp	x10, x11
	b.ne	2f
	mov	x10, x8
	add	x11, x8, #RECORD
1:	ldr	w12, [x10], #4
	str	w12, [x9], #4
	cmp	x10, x11
	b.ne	1b
	str	wzr, [x8]
	ldr	x10, [x7]
	orr	x10, x10, #1
	str	x10, [x7]
2:	mrs	x10, elr_el1
	add	x10, x10, #4
	msr	elr_el1, x10
	eret
