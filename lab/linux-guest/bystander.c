// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// A process that has nothing to do with the lost page: counts, a step each millisecond, in the file that is its standard
// input. init shares the file and reads the counter.
#define _GNU_SOURCE
#include "report.h"
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

int main(void)
{
	const struct timespec step = { .tv_nsec = 1000000 };
	_Atomic uint64_t *counter = mmap(NULL, sizeof(*counter), PROT_READ | PROT_WRITE, MAP_SHARED, 0, 0);

	if (counter == MAP_FAILED)
		fail("mmap");
	for (;;) {
		atomic_fetch_add(counter, 1);
		nanosleep(&step, NULL);
	}
}
