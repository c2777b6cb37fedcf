// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// What Seawall is compared with: the same guest, run by a loop that does nothing else.
//
//   kvm-loop <mode> <times> <image>
//
//   spin        the guest runs instructions only: what a tick of its counter is
//   least       a memory error, by the fewest calls there can be: KVM_RUN and one KVM_SET_VCPU_EVENTS
//   same        a memory error, by the calls that Seawall makes for a repeated one
//   first       each memory error on a page of its own, by the calls that Seawall makes for that, quarantine included
//   mmio-read   a load that a device answers
//   mmio-write  a store that a device takes
//
// The image is timed-accesses of __test__/guests. It prints how long each time took, in ticks of the guest's counter, one
// line each. The exit code is 0 where everything happened as often as it was to, else 1; 2 for bad arguments.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define RAM_BASE 0x80000000ul
#define RAM_SIZE (16ul << 20)
#define TIMES 0x200000ul
#define POISON 0x400000ul
#define UART_LSR 0x40002005ul
#define UART_THR 0x40002000ul

#define CORE(index) (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | (index))
#define X(number) CORE(2 * (number))
#define PC CORE(0x40)
#define PSTATE CORE(0x42)
#define ESR_EL1 ARM64_SYS_REG(3, 0, 5, 2, 0)

enum what { ABORTS, LOADS, STORES, SPINS };

static int vcpu, uffd, memfd;
static char *ram, console[1 << 20];
static struct kvm_run *run;

static void check(int good, const char *operation)
{
	if (good)
		return;
	fprintf(stderr, "kvm-loop: %s failed: %s\n", operation, strerrorname_np(errno));
	exit(1);
}

static void must(int fd, unsigned long request, const void *argument, const char *name)
{
	check(ioctl(fd, request, argument) >= 0, name);
}

static uint64_t get(uint64_t id)
{
	uint64_t value = 0;
	struct kvm_one_reg reg = { id, (uintptr_t)&value };

	must(vcpu, KVM_GET_ONE_REG, &reg, "KVM_GET_ONE_REG");
	return value;
}

static void set(uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { id, (uintptr_t)&value };

	must(vcpu, KVM_SET_ONE_REG, &reg, "KVM_SET_ONE_REG");
}

static void inject_abort(void)
{
	struct kvm_vcpu_events events = { .exception.ext_dabt_pending = 1 };

	must(vcpu, KVM_SET_VCPU_EVENTS, &events, "KVM_SET_VCPU_EVENTS");
}

/* Injects as Seawall does: nobody is told of an abort that the kernel did not inject, or of a syndrome that is another one. */
static void inject_and_look(void)
{
	uint64_t pc = get(PC), pstate = get(PSTATE);

	check((pstate & 0xf) == 5, "the guest's mode");
	inject_abort();
	check(get(PC) != pc && get(ESR_EL1) == 0x96000010, "injecting");
}

/* Takes a page out of everybody's reach, and keeps it. */
static void quarantine(uint64_t offset)
{
	char *held = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_POPULATE, memfd, (off_t)offset);
	struct uffdio_register area = {
		.range = { (uintptr_t)ram + offset, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_poison poison = { .range = area.range };

	check(held != MAP_FAILED, "mmap");
	check(madvise(held, PAGE, MADV_DONTDUMP) == 0, "MADV_DONTDUMP");
	check(madvise(held, PAGE, MADV_DONTFORK) == 0, "MADV_DONTFORK");
	mlock(held, PAGE);
	must(uffd, UFFDIO_REGISTER, &area, "UFFDIO_REGISTER");
	check(madvise(ram + offset, PAGE, MADV_DONTNEED) == 0, "MADV_DONTNEED");
	must(uffd, UFFDIO_POISON, &poison, "UFFDIO_POISON");
}

/*
 * Runs the guest to its end. Returns how often it left on account of what it is there to do. On a thread beside another, as in
 * any program that does more than this: the kernel's look at a file descriptor takes longer there.
 */
static void *serve(void *argument)
{
	const char *mode = argument;
	int least = strcmp(mode, "least") == 0, first = strcmp(mode, "first") == 0;
	unsigned long exits = 0, sent = 0;

	pthread_setname_np(pthread_self(), "vcpu-0");
	for (;;) {
		must(vcpu, KVM_RUN, NULL, "KVM_RUN");
		switch (run->exit_reason) {
		case KVM_EXIT_ARM_SEA:
			exits++;
			if (first)
				quarantine((run->arm_sea.gpa & ~(PAGE - 1)) - RAM_BASE);
			if (least)
				inject_abort();
			else
				inject_and_look();
			break;
		case KVM_EXIT_MMIO:
			exits++;
			/* A console that is idle, and keeps the newest of what it is sent. */
			if (run->mmio.is_write)
				console[sent++ % sizeof(console)] = run->mmio.data[0];
			else
				run->mmio.data[0] = 0x60;
			break;
		case KVM_EXIT_SYSTEM_EVENT:
			return (void *)exits;
		default:
			fprintf(stderr, "kvm-loop: exit %u was not expected\n", run->exit_reason);
			exit(1);
		}
	}
}

static void create_guest(const char *image)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), file = open(image, O_RDONLY), vm, size;
	struct kvm_enable_cap sea = { .cap = KVM_CAP_ARM_SEA_TO_USER };
	struct kvm_vcpu_init init = { 0 };

	check(kvm >= 0, "opening /dev/kvm");
	check(file >= 0, image);
	memfd = memfd_create("guest", MFD_CLOEXEC);
	check(memfd >= 0 && ftruncate(memfd, RAM_SIZE) == 0, "memfd_create");
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	check(ram != MAP_FAILED, "mmap");
	check(read(file, ram, POISON) > 0, "reading the image");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	check(vm >= 0, "KVM_CREATE_VM");
	must(vm, KVM_ENABLE_CAP, &sea, "KVM_CAP_ARM_SEA_TO_USER");
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = RAM_BASE, .memory_size = RAM_SIZE, .userspace_addr = (uintptr_t)ram };
	must(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	check(vcpu >= 0, "KVM_CREATE_VCPU");
	must(vm, KVM_ARM_PREFERRED_TARGET, &init, "KVM_ARM_PREFERRED_TARGET");
	init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
	must(vcpu, KVM_ARM_VCPU_INIT, &init, "KVM_ARM_VCPU_INIT");
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	check(size > 0, "KVM_GET_VCPU_MMAP_SIZE");
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	check(run != MAP_FAILED, "mmap of the run page");
}

static void poison_pages(void)
{
	int injector = open("/dev/sea-inject", O_RDWR | O_CLOEXEC);

	check(injector >= 0, "opening /dev/sea-inject");
	check(dprintf(injector, "arm id=1 tgid=%d start=%#lx end=%#lx fsc=0x10\n", getpid(), RAM_BASE + POISON,
		      RAM_BASE + RAM_SIZE) > 0, "arming");
}

static void open_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_POISON };

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	check(uffd >= 0, "userfaultfd");
	must(uffd, UFFDIO_API, &api, "UFFDIO_API");
}

int main(int argc, char **argv)
{
	static const struct { const char *name; enum what what; uint64_t address, step; } modes[] = {
		{ "spin", SPINS, 0, 0 },
		{ "least", ABORTS, RAM_BASE + POISON + 16, 0 },
		{ "same", ABORTS, RAM_BASE + POISON + 16, 0 },
		{ "first", ABORTS, RAM_BASE + POISON + 16, PAGE },
		{ "mmio-read", LOADS, UART_LSR, 0 },
		{ "mmio-write", STORES, UART_THR, 0 },
	};
	unsigned mode = 0, most = (POISON - TIMES) / sizeof(uint64_t), times = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
	pthread_t thread;
	void *exits;

	while (argc == 4 && mode < 6 && strcmp(argv[1], modes[mode].name) != 0)
		mode++;
	if (mode < 6 && modes[mode].step != 0)
		most = (RAM_SIZE - POISON) / PAGE;
	if (times == 0 || mode == 6 || times > most) {
		fprintf(stderr, "Expected <mode> <times> <image> for kvm-loop\n");
		return 2;
	}
	create_guest(argv[3]);
	poison_pages();
	open_userfaultfd();
	const uint64_t registers[][2] = {
		{ PC, RAM_BASE }, { X(0), times }, { X(2), modes[mode].address }, { X(3), modes[mode].step },
		{ X(4), RAM_BASE + TIMES }, { X(5), modes[mode].what } };
	for (unsigned index = 0; index < 6; index++)
		set(registers[index][0], registers[index][1]);
	check(pthread_create(&thread, NULL, serve, argv[1]) == 0 && pthread_join(thread, &exits) == 0, "pthread_create");
	if (modes[mode].what != SPINS && (unsigned long)exits != times) {
		fprintf(stderr, "kvm-loop: expected %u exits but received %lu\n", times, (unsigned long)exits);
		return 1;
	}
	for (unsigned index = 0; index < times; index++)
		printf("%lu\n", ((uint64_t *)(ram + TIMES))[index]);
	return 0;
}
