// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 stores 8 bytes to the poisoned page: WnR is set in the syndrome.
#include "runtime.inc"

main:
	puts	"ready\n"
	unmask_serror
	load	x1, POISON_DATA
	mov	x0, #MARKER
	str	x0, [x1]
	finish
