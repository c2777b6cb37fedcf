// SPDX-License-Identifier: Apache-2.0 OR MIT
// EL1 loads from the poisoned page between two stores to where nothing is: the host sees when the load began and when the
// guest went on.
#include "runtime.inc"

main:
	init_cpu 0, rt_counting_vectors
	puts	"ready\n"
	unmask_serror
	load	x1, HOLE
	load	x2, POISON_DATA
	str	x1, [x1]
	ldr	x0, [x2]
	str	x1, [x1]
	mrs	x0, esr_el1
	report	"esr=", x0
	finish
