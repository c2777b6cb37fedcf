// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 calls a function in the poisoned page: an instruction abort at the current level, ELR = FAR = the page.
// The page holds no code: without poison the call ends in an undefined instruction and power-off, no `done`.
#include "runtime.inc"

main:
	puts	"ready\n"
	unmask_serror
	load	x1, POISON_PAGE
	blr	x1
	puts	"returned\n"
	finish
