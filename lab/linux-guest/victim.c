// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// The process that meets the lost page. It reads on its standard input, a line each:
//
//     <use> [<processes> [<pages> [<among> [<seed>]]]]
//     !
//
// `<use>` is load, fetch, write or spin. After the first line it says where its page lies in the guest's memory; after the
// second it uses the page once: by a load, by running the code that is in it, or by passing it to write(2). Like most
// programs it handles no signal. What it says after the use is `victim state=survived`. `spin` loads again and again and
// never ends.
//
// `<processes>` of them do this at the same moment, each with pages of its own, on the CPUs in turn. Each has `<pages>` pages
// to lose, chosen by `<seed>` among the `<among>` pages that it has; it uses the first.
#define _GNU_SOURCE
#include "report.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL
/* Of an entry of /proc/PID/pagemap: bits 54:0 are the page frame's number, bit 63 says that there is one. */
#define FRAME_NUMBER ((1UL << 55) - 1)
#define PRESENT (1UL << 63)
/* init knows so many victims. */
#define MAX_PROCESSES 16

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

static char *make_pages(unsigned count, int executable)
{
	size_t bytes = count * PAGE;
	char *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		fail("mmap");
	/* Not a part of a huge page: that would be split, and lost as a whole. */
	if (madvise(pages, bytes, MADV_NOHUGEPAGE) != 0)
		fail("madvise");
	if (mlock(pages, bytes) != 0)
		fail("mlock");
	memset(pages, 0x5e, bytes);
	if (!executable)
		return pages;
	for (unsigned index = 0; index < count; index++)
		memcpy(pages + index * PAGE, CODE, sizeof(CODE));
	if (mprotect(pages, bytes, PROT_READ | PROT_EXEC) != 0)
		fail("mprotect");
	__builtin___clear_cache(pages, pages + bytes);
	return pages;
}

/* SplitMix64: the same numbers from the same seed. */
static uint64_t next_random(uint64_t *seed)
{
	uint64_t number = *seed += 0x9e3779b97f4a7c15;

	number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9;
	number = (number ^ number >> 27) * 0x94d049bb133111eb;
	return number ^ number >> 31;
}

/* Chooses `count` different pages among `among`, and says where they lie, the first of them last. Returns that one. */
static char *choose_pages(const char *use, char *pages, unsigned count, unsigned among, uint64_t seed)
{
	unsigned *order = calloc(among, sizeof(*order));

	if (order == NULL)
		fail("calloc");
	for (unsigned index = 0; index < among; index++)
		order[index] = index;
	for (unsigned index = 0; index < count; index++) {
		unsigned other = index + (unsigned)(next_random(&seed) % (among - index)), chosen = order[other];
		order[other] = order[index];
		order[index] = chosen;
	}
	for (unsigned index = count; index-- > 0;) {
		char *page = pages + order[index] * PAGE;
		report("victim state=%s use=%s pid=%d gva=%#" PRIxPTR " gpa=%#" PRIx64, index == 0 ? "ready" : "page", use,
		       getpid(), (uintptr_t)page, guest_physical(page));
	}
	char *first = pages + order[0] * PAGE;
	free(order);
	return first;
}

/* What victims of the same moment share: how many are not there yet, and how the others hear of the second line. */
static atomic_uint *missing;
static int wake[2];

/* Makes so many processes of this one, on the CPUs in turn. Returns which of them this is. */
static unsigned make_others(unsigned processes)
{
	unsigned own = 0;
	cpu_set_t set;

	missing = mmap(NULL, sizeof(*missing), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (missing == MAP_FAILED)
		fail("mmap");
	atomic_init(missing, processes);
	if (pipe2(wake, O_CLOEXEC) != 0)
		fail("pipe");
	/* init alone hears of their end. */
	signal(SIGCHLD, SIG_IGN);
	for (unsigned index = 1; index < processes && own == 0; index++) {
		pid_t other = fork();
		if (other < 0)
			fail("fork");
		if (other == 0)
			own = index;
	}
	CPU_ZERO(&set);
	CPU_SET(own % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		fail("sched_setaffinity");
	return own;
}

/* Waits for the second line, and for the others. */
static void await_moment(unsigned own, unsigned processes)
{
	char go;

	if (read(own == 0 ? 0 : wake[0], &go, 1) != 1)
		fail("read");
	if (processes == 1)
		return;
	for (unsigned other = 1; own == 0 && other < processes; other++)
		if (write(wake[1], &go, 1) != 1)
			fail("write");
	atomic_fetch_sub(missing, 1);
	while (atomic_load(missing) > 0)
		;
}

int main(void)
{
	char line[128], use[8] = "";
	unsigned processes = 1, pages = 1, among = 0;
	uint64_t seed = 0;
	int file = -1;

	if (fgets(line, sizeof(line), stdin) == NULL)
		fail("fgets");
	line[strcspn(line, "\n")] = '\0';
	sscanf(line, "%7s %u %u %u %" SCNu64, use, &processes, &pages, &among, &seed);
	if (among == 0)
		among = pages;
	int load = strcmp(use, "load") == 0, fetch = strcmp(use, "fetch") == 0, copy = strcmp(use, "write") == 0;
	int spin = strcmp(use, "spin") == 0;
	if (!(load || fetch || copy || spin) || processes < 1 || processes > MAX_PROCESSES || pages < 1 || pages > among) {
		report("refused program=victim expected=load|fetch|write|spin,processes,pages,among,seed received=%s", line);
		return 2;
	}
	unsigned own = processes > 1 ? make_others(processes) : 0;
	if (copy && (file = open("/tmp/victim", O_CREAT | O_RDWR | O_CLOEXEC, 0600)) < 0)
		fail("open");
	char *page = choose_pages(use, make_pages(among, fetch), pages, among, seed);
	await_moment(own, processes);
	while (spin)
		(void)*(volatile uint64_t *)page;
	if (load) {
		report("victim state=survived pid=%d value=%#" PRIx64, getpid(), *(volatile uint64_t *)page);
	} else if (fetch) {
		report("victim state=survived pid=%d value=%#x", getpid(), ((unsigned (*)(void))page)());
	} else {
		ssize_t written = write(file, page, PAGE);
		report("victim state=survived pid=%d written=%zd errno=%s", getpid(), written,
		       written < 0 ? strerrorname_np(errno) : "0");
	}
	return 0;
}
