// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// What a guest does all day, as a fixed amount of work: `<forks> <passes>` on the standard input starts that many programs
// and then that many processes which use nearly all free memory, one after the other and on each CPU in turn.
//
// Freed pages wait in a list of the CPU that freed them, and are the first that this CPU gives away again: a lost page is
// met by the first processes there, or else by one of those that take everything. Each process that does not end well is
// reported; one that does not end at all is left behind.
#define _GNU_SOURCE
#include "process.h"
#include "report.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
/* What a pass leaves to everybody else, in KiB: less, and the kernel looks for a process to kill. */
#define SPARE_KIB (16 * 1024)
/* A process that so many seconds apart is in an uninterruptible sleep does not wake up again. */
#define LOOK 10

/* The processes so far, by how they ended. */
static struct {
	unsigned well, badly, never;
} ended;

/* KiB of free memory; 0 where the kernel does not say. */
static unsigned long free_kib(void)
{
	char text[4096];
	unsigned long kib = 0;

	read_file("/proc/meminfo", text, sizeof(text));
	const char *found = strstr(text, "MemFree:");
	if (found != NULL)
		sscanf(found, "MemFree: %lu", &kib);
	return kib;
}

static void stay_on(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		fail("sched_setaffinity");
}

/* Waits for a process, and counts how it ended. One that never will is left behind. */
static void await(pid_t pid, const char *work)
{
	struct timespec look = { .tv_sec = LOOK };
	sigset_t child;
	int status, asleep = 0;
	pid_t got;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	while ((got = waitpid(pid, &status, WNOHANG)) == 0 && asleep < 2)
		if (sigtimedwait(&child, NULL, &look) < 0 && errno == EAGAIN)
			asleep = process_state(pid) == 'D' ? asleep + 1 : 0;
	if (got != pid) {
		ended.never++;
		report("stress state=stuck work=%s pid=%d", work, pid);
	} else if (status != 0) {
		ended.badly++;
		report("stress state=lost work=%s pid=%d exit=%d signal=%d", work, pid,
		       WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	} else {
		ended.well++;
	}
}

/* Starts a program that ends at once. */
static void start_program(unsigned cpu)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		stay_on(cpu);
		execl("/bin/nothing", "nothing", (char *)NULL);
		_exit(126);
	}
	await(pid, "fork");
}

/* Lets a process write to nearly all free memory, a page at a time. Returns how many KiB that is. */
static unsigned long use_memory(unsigned cpu)
{
	unsigned long free = free_kib(), kib = free > SPARE_KIB ? (free - SPARE_KIB) / 4 * 4 : 4, bytes = kib * 1024;
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		stay_on(cpu);
		char *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (pages == MAP_FAILED || madvise(pages, bytes, MADV_NOHUGEPAGE) != 0)
			_exit(126);
		for (unsigned long at = 0; at < bytes; at += PAGE)
			*(volatile char *)(pages + at) = 1;
		_exit(0);
	}
	await(pid, "pass");
	return kib;
}

int main(void)
{
	unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN), forks, passes;
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	while (scanf("%u %u", &forks, &passes) == 2) {
		memset(&ended, 0, sizeof(ended));
		for (unsigned index = 0; index < forks; index++)
			start_program(index % cpus);
		report("stress state=forked well=%u badly=%u never=%u", ended.well, ended.badly, ended.never);
		unsigned long kib = 0;
		for (unsigned index = 0; index < passes; index++)
			kib += use_memory(index % cpus);
		report("stress state=done well=%u badly=%u never=%u kib=%lu", ended.well, ended.badly, ended.never, kib);
	}
	return 0;
}
