/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#ifndef PROCESS_H
#define PROCESS_H

#include <stddef.h>
#include <sys/types.h>

/* Reads a file of /proc; empty where it is not there. */
void read_file(const char *path, char *text, size_t size);

/* A process's state (R, S, D, Z, …), as the kernel says; '-' where there is no such process. */
char process_state(pid_t pid);

#endif
