/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#ifndef REPORT_H
#define REPORT_H

/*
 * Prints one line `seawall: <text>` on the console, by way of the kernel's log: its records never mix with each other on
 * the console, where the output of a program would be cut in two by a kernel that has something to say.
 */
__attribute__((format(printf, 1, 2))) void report(const char *format, ...);

/* Reports what failed, with errno, and ends the program with exit code 1. */
__attribute__((noreturn)) void fail(const char *operation);

#endif
