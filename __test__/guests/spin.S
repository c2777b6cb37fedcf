// SPDX-License-Identifier: Apache-2.0 OR MIT
// Runs for ever without leaving the guest, SError unmasked: for kicks, pauses, and injection from outside.
#include "runtime.inc"

main:
	puts	"ready\n"
	unmask_serror
	b	.
