// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL0 calls a function in the poisoned page: an instruction abort from a lower level, taken at vector 0x400.
// The page holds no code: without poison the call ends in an undefined instruction and power-off, no `done`.
#include "runtime.inc"

main:
	puts	"ready\n"
	enter_el0 application

application:
	load	x3, POISON_PAGE
	blr	x3
	el0_puts "returned\n"
	el0_finish
