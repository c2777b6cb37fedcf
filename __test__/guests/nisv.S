// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 loads with write-back from an address where nothing is: hardware gives no syndrome to emulate it from (ISV = 0).
// An injected abort leaves both registers unchanged.
#include "runtime.inc"

main:
	puts	"ready\n"
	report_access access
	load	x1, HOLE
	mov	x0, #MARKER
access:
	ldr	x0, [x1], #8
	report	"value=", x0
	report	"base=", x1
	finish
