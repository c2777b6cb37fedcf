// SPDX-License-Identifier: Apache-2.0 OR MIT
// vCPU 0 reports and starts vCPU 1 through PSCI CPU_ON; vCPU 1 reports and powers the machine off while vCPU 0 runs.
#include "runtime.inc"

main:
	puts	"cpu=0\n"
	mov	x1, #1			// the target's MPIDR
	adr	x2, second
	mov	x3, #0
	psci	PSCI_CPU_ON
	cbz	x0, .
	report	"psci=", x0
	finish

second:
	init_cpu 1
	puts	"cpu=1\n"
	finish
