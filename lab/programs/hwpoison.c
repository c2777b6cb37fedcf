// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// Makes the host lose a page of a guest's RAM: hwpoison [--nth=<n>] <pid> <offset> [<bytes>]
//
// The page is that of the n-th memfd `seawall-guest` among the descriptors of the process, the first by default. It is
// mapped here too and given to madvise(MADV_HWPOISON), as the kernel does with a page whose error the firmware reported.
// Needs CAP_SYS_ADMIN. Prints one line; the exit code is 0 where the pages are poisoned, 1 where not, 2 for bad arguments.
#define _GNU_SOURCE
#include "guest-ram.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

/* What the kernel told this process of the page it poisons. */
static volatile sig_atomic_t signal_code, signal_lsb;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	signal_code = info->si_code;
	signal_lsb = info->si_addr_lsb;
}

int main(int argc, char **argv)
{
	struct guest_ram ram;
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	int status = map_guest_ram(argc, argv, &ram);

	if (status != 0)
		return status;
	/* A page that is dirty and mapped here costs its owner a signal: the kernel takes this process for the consumer. */
	if (sigaction(SIGBUS, &action, NULL) != 0)
		return failed("sigaction");
	/* Where somebody uses the page at that moment the kernel cannot recover it, and says so. It is lost all the same. */
	if (madvise(ram.pages, ram.bytes, MADV_HWPOISON) != 0 && errno != EBUSY)
		return failed("madvise(MADV_HWPOISON)");
	printf("poisoned pid=%lu offset=%#lx bytes=%#lx", ram.pid, ram.offset, ram.bytes);
	if (signal_code == BUS_MCEERR_AR)
		printf(" signal=BUS_MCEERR_AR lsb=%d", (int)signal_lsb);
	else if (signal_code != 0)
		printf(" signal=%d", (int)signal_code);
	printf("\n");
	return 0;
}
