// SPDX-License-Identifier: Apache-2.0 OR MIT
// Sends back x0 bytes that it receives, as a driver that polls: not before there is one, and not before it may.
#include "runtime.inc"

#define UART_RBR 0
#define UART_THR 0
#define UART_LSR 5
#define LSR_DATA_READY 0
#define LSR_THRE 5

main:
	mov	x20, x0
	puts	"ready\n"
	load	x1, UART_BASE
1:	ldrb	w2, [x1, #UART_LSR]
	tbz	w2, #LSR_DATA_READY, 1b
	ldrb	w3, [x1, #UART_RBR]
2:	ldrb	w2, [x1, #UART_LSR]
	tbz	w2, #LSR_THRE, 2b
	strb	w3, [x1, #UART_THR]
	subs	x20, x20, #1
	b.ne	1b
	puts	"done\n"
	b	rt_off
