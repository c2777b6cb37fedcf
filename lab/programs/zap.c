// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// Takes a page of a guest's RAM out of its stage 2, so that the next access faults: zap [--nth=<n>] <pid> <offset> [<bytes>]
//
// The page's memory goes back to the host by a hole in the memfd, and what it held is written to fresh memory in its place.
// Nobody may write to it meanwhile. The exit code is 0 where that was done, 1 where not, 2 for bad arguments.
#define _GNU_SOURCE
#include "guest-ram.h"

int main(int argc, char **argv)
{
	struct guest_ram ram;
	int status = map_guest_ram(argc, argv, &ram);

	if (status != 0)
		return status;
	char *held = malloc(ram.bytes);
	if (held == NULL)
		return failed("malloc");
	memcpy(held, ram.pages, ram.bytes);
	if (fallocate(ram.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)ram.offset, (off_t)ram.bytes) != 0)
		return failed("fallocate(FALLOC_FL_PUNCH_HOLE)");
	memcpy(ram.pages, held, ram.bytes);
	printf("zapped pid=%lu offset=%#lx bytes=%#lx\n", ram.pid, ram.offset, ram.bytes);
	return 0;
}
