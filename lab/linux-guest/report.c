// SPDX-License-Identifier: Apache-2.0 OR MIT
#define _GNU_SOURCE
#include "report.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The level of an emergency: it is shown whatever the command line says of the kernel's own messages. */
static const char PREFIX[] = "<0>seawall: ";
/* The kernel cuts a record off a little below 1 KiB. */
#define RECORD 512

void report(const char *format, ...)
{
	static int log = -1;
	char record[RECORD];
	size_t length = sizeof(PREFIX) - 1;
	va_list arguments;

	if (log < 0)
		log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	memcpy(record, PREFIX, length);
	va_start(arguments, format);
	length += (size_t)vsnprintf(record + length, sizeof(record) - length, format, arguments);
	va_end(arguments);
	if (length > sizeof(record) - 1)
		length = sizeof(record) - 1;
	/* Without its end the kernel keeps a record back, for more that might belong to it. */
	record[length++] = '\n';
	/* Nobody could be told that nobody can be told. */
	(void)!write(log, record, length);
}

void fail(const char *operation)
{
	report("failed program=%s operation=%s errno=%s", program_invocation_short_name, operation, strerrorname_np(errno));
	exit(1);
}
