// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 stores 8 bytes to an address where nothing is: an MMIO write that no device claims.
#include "runtime.inc"

main:
	puts	"ready\n"
	report_access access
	load	x1, HOLE
	mov	x0, #MARKER
access:
	str	x0, [x1]
	finish
