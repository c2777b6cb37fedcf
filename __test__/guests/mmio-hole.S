// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 loads 8 bytes from an address where nothing is: an MMIO read that no device claims.
#include "runtime.inc"

main:
	puts	"ready\n"
	report_access access
	load	x1, HOLE
	mov	x0, #MARKER
access:
	ldr	x0, [x1]
	report	"value=", x0
	finish
