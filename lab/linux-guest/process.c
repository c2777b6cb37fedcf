// SPDX-License-Identifier: Apache-2.0 OR MIT
#define _GNU_SOURCE
#include "process.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void read_file(const char *path, char *text, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? 0 : read(file, text, size - 1);

	close(file);
	text[length < 0 ? 0 : length] = '\0';
}

char process_state(pid_t pid)
{
	char path[64], stat[256];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	read_file(path, stat, sizeof(stat));
	/* The name is in parentheses, and may hold some itself. */
	const char *name_end = strrchr(stat, ')');
	return name_end == NULL ? '-' : name_end[2];
}
