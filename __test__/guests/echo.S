// SPDX-License-Identifier: Apache-2.0 OR MIT
// Sends back every byte that the console receives, for ever: for input, of every value.
#include "runtime.inc"

#define UART_LSR 5			// line status
#define LSR_DATA_READY 0		// its bit

main:
	puts	"ready\n"
	load	x1, UART_BASE
1:	ldrb	w2, [x1, #UART_LSR]
	tbz	w2, #LSR_DATA_READY, 1b
	ldrb	w2, [x1]
	strb	w2, [x1]
	b	1b
