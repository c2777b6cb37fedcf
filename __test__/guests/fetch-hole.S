// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 calls into an address without memory: KVM itself injects the instruction abort, no exit. The reference for ours.
#include "runtime.inc"

main:
	puts	"ready\n"
	load	x1, HOLE
	report	"access=", x1
	blr	x1
	puts	"returned\n"
	finish
