// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// The agent of a Linux guest that boots without ACPI: retire-pages [device]
//
// Seawall asks it to retire pages that are lost, by lines on a serial port, and it passes them on to the guest's kernel. It is
// for root, and for an init system that starts it again should it end.
//
//   cc -O2 -static -o retire-pages retire-pages.c
//
//   agent    hello 1                     it has started
//   monitor  retire 0x80286000           the guest-physical address of a lost page of 4 KiB
//   agent    retired 0x80286000 0        the kernel uses it no more; or the errno, where it still does
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#define DEVICE "/dev/ttyS1"
/* Of kernels with CONFIG_MEMORY_FAILURE and CONFIG_MEMORY_HOTPLUG. */
#define RETIRE "/sys/devices/system/memory/hard_offline_page"

static int open_or_exit(const char *path, int flags)
{
	int file = open(path, flags | O_CLOEXEC);

	if (file < 0) {
		fprintf(stderr, "retire-pages: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return file;
}

/* A line as it is: no echo, no translation, nothing that was there before. */
static int open_line(const char *device)
{
	int line = open_or_exit(device, O_RDWR | O_NOCTTY);
	struct termios mode;

	if (tcgetattr(line, &mode) != 0) {
		fprintf(stderr, "retire-pages: Expected a serial port but %s is none\n", device);
		exit(1);
	}
	cfmakeraw(&mode);
	cfsetspeed(&mode, B115200);
	mode.c_cflag |= CLOCAL;
	if (tcsetattr(line, TCSAFLUSH, &mode) != 0) {
		perror("retire-pages: tcsetattr");
		exit(1);
	}
	return line;
}

/* Whoever waits for a page waits for this program: it comes before all others, is not killed for want of memory, and needs no
 * memory that it does not have. It can do without what is refused here. */
static void come_first(void)
{
	const struct sched_param priority = { .sched_priority = 1 };
	int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (score < 0 || write(score, "-1000", 5) != 5)
		perror("retire-pages: oom_score_adj");
	close(score);
	if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
		perror("retire-pages: sched_setscheduler");
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		perror("retire-pages: mlockall");
}

/* Has the kernel retire a page. Returns 0, or why it did not. */
static int retire(int file, uint64_t address)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%#" PRIx64, address);

	/* A page that was retired before is retired. */
	return write(file, text, (size_t)length) == length || errno == EHWPOISON ? 0 : errno;
}

int main(int argc, char **argv)
{
	int pages = open_or_exit(RETIRE, O_WRONLY);
	int line = open_line(argc > 1 ? argv[1] : DEVICE);
	FILE *requests = fdopen(line, "r");
	char request[64], end;
	uint64_t address;

	come_first();
	if (requests == NULL || dprintf(line, "hello 1\n") < 0)
		return 1;
	while (fgets(request, sizeof(request), requests) != NULL) {
		if (sscanf(request, "retire 0x%" SCNx64 "%c", &address, &end) != 2 || end != '\n')
			continue;
		if (dprintf(line, "retired %#" PRIx64 " %d\n", address, retire(pages, address)) < 0)
			return 1;
	}
	return 1;
}
