// SPDX-License-Identifier: Apache-2.0 OR MIT
// Up to four vCPUs load from one lost page after the other, all from the same page at the same time.
//
// In, as registers of vCPU 0: x0 how many pages are lost, x2 how many vCPUs there are, x3 how often each loads from a page
// once it got its first abort there; x4 how much later, with every page, the other vCPUs come than vCPU 0. The lost pages
// are every second one from POISON_PAGE + 0x1000; every 8 bytes of all the pages hold their own address, and a load that
// ends must return that, or zero from a lost page that nobody wrote.
//
// Each vCPU reports: `aborts`, in all; `before`, the loads from lost pages that ended before its first abort there;
// `after`, those that ended afterwards, and there must be none; `wrong`, values that were neither.
#include "runtime.inc"

#define RESULTS (RAM_BASE + 0x1f0000)
#define RESULT_SIZE 64
#define STEP 32				// in a vCPU's results: how many pages it has come to

// Before the data abort handler's count, which is x20.
#define index x19
#define before x21
#define after x22
#define wrong x23
#define own x24
#define lost x25
#define vcpus x26
#define again x27
#define page x28

main:
	load	x10, RESULTS
	stp	x0, x2, [x10, #4 * RESULT_SIZE]
	stp	x3, x4, [x10, #4 * RESULT_SIZE + 16]
	mov	x11, x2
	puts	"ready\n"
	all_at	secondary

secondary:
	mov	index, x0
	load	x1, STACK_TOP
	sub	x1, x1, index, lsl #12
	mov	sp, x1
	adr	x1, rt_counting_vectors
	msr	vbar_el1, x1
	isb
	load	x10, RESULTS
	add	own, x10, index, lsl #6
	ldp	lost, vcpus, [x10, #4 * RESULT_SIZE]
	ldp	again, x8, [x10, #4 * RESULT_SIZE + 16]
	cmp	index, #0
	csel	x8, xzr, x8, eq		// how much later
	mov	before, #0
	mov	after, #0
	mov	wrong, #0
	mov	x20, #0
	mov	x9, #0			// steps
	load	page, POISON_PAGE + 0x1000
1:	bl	wait_for_all
	mul	x7, x8, x9
2:	subs	x7, x7, #1
	b.gt	2b
	bl	load_page
	add	page, page, #0x2000
	cmp	x9, lost
	b.lo	1b
	stp	x20, before, [own]
	stp	after, wrong, [own, #16]
	bl	wait_for_all
	cbnz	index, .
	load	own, RESULTS
1:	report	"cpu=", index
	ldp	x10, x11, [own]
	ldp	x12, x13, [own, #16]
	report	"aborts=", x10
	report	"before=", x11
	report	"after=", x12
	report	"wrong=", x13
	add	own, own, #RESULT_SIZE
	add	index, index, #1
	cmp	index, vcpus
	b.lo	1b
	finish

// Comes to the next step, and waits until the others have.
wait_for_all:
	add	x9, x9, #1
	str	x9, [own, #STEP]
	dsb	sy
	sev
	load	x10, RESULTS + STEP
	mov	x11, #0
1:	ldr	x12, [x10]
	cmp	x12, x9
	b.hs	2f
	wfe
	b	1b
2:	add	x10, x10, #RESULT_SIZE
	add	x11, x11, #1
	cmp	x11, vcpus
	b.lo	1b
	ret

// Loads until the first abort, then `again` times, which must abort.
load_page:
	mov	x14, x30
	mov	x12, x20
1:	ldr	x2, [page]
	cmp	x20, x12
	b.ne	2f
	add	before, before, #1
	cmp	x2, #0
	ccmp	x2, page, #4, ne	// Z where it is zero
	cinc	wrong, wrong, ne
	bl	load_neighbours
	b	1b
2:	mov	x13, again
3:	cbz	x13, 4f
	sub	x13, x13, #1
	mov	x12, x20
	ldr	x2, [page]
	cmp	x20, x12
	cinc	after, after, eq
	bl	load_neighbours
	b	3b
4:	ret	x14

// The last 8 bytes of the page before, and the first of the page after.
load_neighbours:
	sub	x1, page, #8
	ldr	x2, [x1]
	cmp	x2, x1
	cinc	wrong, wrong, ne
	add	x1, page, #0x1000
	ldr	x2, [x1]
	cmp	x2, x1
	cinc	wrong, wrong, ne
	ret
