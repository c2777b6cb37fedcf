// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// Makes the host lose a page of a guest's RAM: hwpoison [--nth=<n>] <pid> <offset> [<bytes>]
//
// The page is that of the n-th memfd `seawall-guest` among the descriptors of the process, the first by default. It is
// mapped here too and given to madvise(MADV_HWPOISON), as the kernel does with a page whose error the firmware reported.
// Needs CAP_SYS_ADMIN. Prints one line; the exit code is 0 where the pages are poisoned, 1 where not, 2 for bad arguments.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL

static const char MEMFD[] = "/memfd:seawall-guest";

/* What the kernel told this process of the page it poisons. */
static volatile sig_atomic_t signal_code, signal_lsb;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	signal_code = info->si_code;
	signal_lsb = info->si_addr_lsb;
}

static int refuse(const char *what, const char *received)
{
	printf("Expected %s for hwpoison but received %s\n", what, received);
	return 2;
}

static int failed(const char *operation)
{
	printf("%s failed: %s\n", operation, strerrorname_np(errno));
	return 1;
}

static int parse(const char *text, unsigned long *value)
{
	char *end;

	errno = 0;
	*value = strtoul(text, &end, 0);
	return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0;
}

static int compare_numbers(const struct dirent **left, const struct dirent **right)
{
	return atoi((*left)->d_name) - atoi((*right)->d_name);
}

/* Opens the n-th memfd of guest RAM, counted from 0 in the order of the process's descriptors. -1 and errno otherwise. */
static int open_guest_ram(unsigned long pid, unsigned long nth)
{
	char folder[64], path[PATH_MAX], target[PATH_MAX];
	struct dirent **entries;
	int count, file = -1;
	unsigned long found = 0;

	snprintf(folder, sizeof(folder), "/proc/%lu/fd", pid);
	count = scandir(folder, &entries, NULL, compare_numbers);
	if (count < 0)
		return -1;
	errno = ENOENT;
	for (int index = 0; index < count && file < 0; index++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[index]->d_name);
		ssize_t length = readlink(path, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = '\0';
		if (strncmp(target, MEMFD, sizeof(MEMFD) - 1) == 0 && found++ == nth) {
			file = open(path, O_RDWR | O_CLOEXEC);
			break;
		}
		errno = ENOENT;
	}
	return file;
}

int main(int argc, char **argv)
{
	unsigned long nth = 0, pid, offset, bytes = PAGE;
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	if (argc > 1 && strncmp(argv[1], "--nth=", 6) == 0) {
		if (!parse(argv[1] + 6, &nth))
			return refuse("a number for --nth", argv[1] + 6);
		argv++;
		argc--;
	}
	if (argc != 3 && argc != 4)
		return refuse("[--nth=<n>] <pid> <offset> [<bytes>]", "something else");
	if (!parse(argv[1], &pid))
		return refuse("a process id", argv[1]);
	if (!parse(argv[2], &offset) || offset % PAGE != 0)
		return refuse("the offset of a page", argv[2]);
	if (argc == 4 && (!parse(argv[3], &bytes) || bytes == 0 || bytes % PAGE != 0))
		return refuse("whole pages", argv[3]);

	int file = open_guest_ram(pid, nth);
	if (file < 0)
		return failed("looking for memfd:seawall-guest");
	char *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, (off_t)offset);
	if (pages == MAP_FAILED)
		return failed("mmap");
	/* A page that is dirty and mapped here costs its owner a signal: the kernel takes this process for the consumer. */
	if (sigaction(SIGBUS, &action, NULL) != 0)
		return failed("sigaction");
	if (madvise(pages, bytes, MADV_HWPOISON) != 0)
		return failed("madvise(MADV_HWPOISON)");
	printf("poisoned pid=%lu offset=%#lx bytes=%#lx", pid, offset, bytes);
	if (signal_code == BUS_MCEERR_AR)
		printf(" signal=BUS_MCEERR_AR lsb=%d", (int)signal_lsb);
	else if (signal_code != 0)
		printf(" signal=%d", (int)signal_code);
	printf("\n");
	return 0;
}
