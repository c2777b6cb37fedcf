// SPDX-License-Identifier: Apache-2.0 OR MIT
#define _GNU_SOURCE
#include "console.h"
#include "report.h"
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* What has come and was not used yet; `taken` bytes of it are the line that was given out last. */
static char received[4096];
static size_t length, taken;

void console_open(void)
{
	struct termios mode;

	if (tcgetattr(0, &mode) != 0)
		fail("tcgetattr");
	cfmakeraw(&mode);
	cfsetspeed(&mode, B115200);
	/* Without it the kernel drops what comes faster than it is read. */
	mode.c_cflag |= CRTSCTS;
	if (tcsetattr(0, TCSANOW, &mode) != 0)
		fail("tcsetattr");
}

static void drop_taken(void)
{
	length -= taken;
	memmove(received, received + taken, length);
	taken = 0;
}

int console_receive(void)
{
	drop_taken();
	/* A line that does not fit is not a command. */
	if (length == sizeof(received))
		length = 0;
	ssize_t got = read(0, received + length, sizeof(received) - length);
	if (got <= 0)
		return 0;
	length += (size_t)got;
	return 1;
}

char *console_line(void)
{
	drop_taken();
	char *end = memchr(received, '\n', length);
	if (end == NULL)
		return NULL;
	taken = (size_t)(end - received) + 1;
	*end = '\0';
	if (end > received && end[-1] == '\r')
		end[-1] = '\0';
	return received;
}

static int write_all(const char *bytes, size_t count)
{
	while (count > 0) {
		ssize_t written = write(1, bytes, count);
		if (written <= 0)
			return 0;
		bytes += written;
		count -= (size_t)written;
	}
	return 1;
}

int console_echo(unsigned long count)
{
	drop_taken();
	while (count > 0) {
		if (length == 0 && !console_receive())
			return 0;
		size_t some = length < count ? length : count;
		if (!write_all(received, some))
			return 0;
		count -= some;
		taken = some;
		drop_taken();
	}
	return tcdrain(1) == 0;
}
