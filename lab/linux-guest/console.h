/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#ifndef CONSOLE_H
#define CONSOLE_H

/* Makes the console, descriptor 0, hand on every byte as it is, and at once. */
void console_open(void);

/* Takes what has come. Returns 0 at the end of the console. */
int console_receive(void);

/* The next whole line that has come, without its end; NULL where there is none. Valid until the next call. */
char *console_line(void);

/* Gives the next `count` bytes that come back as they are. Returns 0 where the console does not take or give them. */
int console_echo(unsigned long count);

#endif
