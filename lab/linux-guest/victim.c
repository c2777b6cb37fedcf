// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// The process that meets the lost page: victim load|fetch|write|spin|pair
//
// Has a page of its own, says where it lies in the guest's memory, waits for a byte on its standard input, and uses the
// page once: by a load, by running the code that is in it, or by passing it to write(2). Like most programs it handles no
// signal. What it says after the use is `victim state=survived`. `spin` loads again and again and never ends; `pair` is two
// processes on two CPUs that load, each from its own page, at the same moment.
#define _GNU_SOURCE
#include "report.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL
/* Of an entry of /proc/PID/pagemap: bits 54:0 are the page frame's number, bit 63 says that there is one. */
#define FRAME_NUMBER ((1UL << 55) - 1)
#define PRESENT (1UL << 63)

/* mov w0, #0x5eed; ret */
static const uint32_t CODE[] = { 0x528bdda0, 0xd65f03c0 };

/* The guest-physical address of one of this process's pages. */
static uint64_t guest_physical(const void *page)
{
	uint64_t entry;
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	off_t offset = (off_t)((uintptr_t)page / PAGE * sizeof(entry));

	if (pagemap < 0 || pread(pagemap, &entry, sizeof(entry), offset) != sizeof(entry))
		fail("pagemap");
	close(pagemap);
	if (!(entry & PRESENT) || !(entry & FRAME_NUMBER)) {
		errno = ENODATA;
		fail("pagemap");
	}
	return (entry & FRAME_NUMBER) * PAGE;
}

static char *make_page(int executable)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		fail("mmap");
	/* Not a part of a huge page: that would be split, and lost as a whole. */
	if (madvise(page, PAGE, MADV_NOHUGEPAGE) != 0)
		fail("madvise");
	if (mlock(page, PAGE) != 0)
		fail("mlock");
	memset(page, 0x5e, PAGE);
	if (!executable)
		return page;
	memcpy(page, CODE, sizeof(CODE));
	if (mprotect(page, PAGE, PROT_READ | PROT_EXEC) != 0)
		fail("mprotect");
	__builtin___clear_cache(page, page + sizeof(CODE));
	return page;
}

/* What the two of a pair share: how many of them are not there yet, and how the second hears of the byte. */
static atomic_int *missing;
static int wake[2];

/* Makes two processes of this one, on CPU 0 and on CPU 1. Returns whether this is the second. */
static int make_pair(void)
{
	cpu_set_t set;

	missing = mmap(NULL, sizeof(*missing), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (missing == MAP_FAILED)
		fail("mmap");
	atomic_init(missing, 2);
	if (pipe2(wake, O_CLOEXEC) != 0)
		fail("pipe");
	pid_t second = fork();
	if (second < 0)
		fail("fork");
	CPU_ZERO(&set);
	CPU_SET(second == 0, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		fail("sched_setaffinity");
	return second == 0;
}

/* Waits for the other one of a pair. */
static void meet(int is_second)
{
	if (!is_second && write(wake[1], "!", 1) != 1)
		fail("write");
	atomic_fetch_sub(missing, 1);
	while (atomic_load(missing) > 0)
		;
}

int main(int argc, char **argv)
{
	const char *use = argc == 2 ? argv[1] : "";
	int load = strcmp(use, "load") == 0, fetch = strcmp(use, "fetch") == 0, copy = strcmp(use, "write") == 0;
	int spin = strcmp(use, "spin") == 0, pair = strcmp(use, "pair") == 0;
	int file = -1;
	char go;

	if (!load && !fetch && !copy && !spin && !pair) {
		report("refused program=victim expected=load|fetch|write|spin|pair received=%s", use);
		return 2;
	}
	int is_second = pair && make_pair();
	if (copy && (file = open("/tmp/victim", O_CREAT | O_RDWR | O_CLOEXEC, 0600)) < 0)
		fail("open");
	char *page = make_page(fetch);
	report("victim state=ready use=%s pid=%d gva=%#" PRIxPTR " gpa=%#" PRIx64, use, getpid(), (uintptr_t)page,
	       guest_physical(page));
	if (read(is_second ? wake[0] : 0, &go, 1) != 1)
		fail("read");
	if (pair)
		meet(is_second);
	while (spin)
		(void)*(volatile uint64_t *)page;
	if (load || pair) {
		report("victim state=survived value=%#" PRIx64, *(volatile uint64_t *)page);
	} else if (fetch) {
		report("victim state=survived value=%#x", ((unsigned (*)(void))page)());
	} else {
		ssize_t written = write(file, page, PAGE);
		report("victim state=survived written=%zd errno=%s", written, written < 0 ? strerrorname_np(errno) : "0");
	}
	return 0;
}
