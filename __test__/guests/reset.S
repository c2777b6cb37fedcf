// SPDX-License-Identifier: Apache-2.0 OR MIT
// Asks for a reset through PSCI.
#include "runtime.inc"

main:
	puts	"ready\n"
	psci	PSCI_SYSTEM_RESET
	b	.
