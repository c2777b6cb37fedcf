// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 calls the function in the poisoned page of fetch-el1 two times.
#include "runtime.inc"

main:
	puts	"ready\n"
	unmask_serror
	load	x1, POISON_PAGE
	blr	x1
	puts	"returned\n"
	load	x1, POISON_PAGE + 0x20
	blr	x1
	puts	"returned again\n"
	finish
