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
//   told        the same, and the guest is told of each page by a record of ACPI; the image is told-accesses
//   mmio-read   a load that a device answers
//   mmio-write  a store that a device takes
//
// The image is timed-accesses of __test__/guests. It prints how long each time took, in ticks of the guest's counter, one
// line each, and in mode told the records that the guest has read, in hexadecimal digits. The exit code is 0 where everything
// happened as often as it was to, else 1; 2 for bad arguments.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
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
/* Where the guest puts the records that it has read. */
#define READ 0x300000ul
#define POISON 0x400000ul
/* Where these are with Seawall, in a guest of as much RAM that is booted as a kernel: what it tells by exception. */
#define DEVICE_TREE 0xe00000ul
#define READ_ACK 0xf40100ul
#define STATUS_BLOCK 0xf42000ul
#define RECORD 172ul
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
static void inject_and_look(uint64_t mode, uint64_t esr)
{
	uint64_t pc = get(PC), pstate = get(PSTATE);

	check((pstate & 0xf) == mode, "the guest's mode");
	inject_abort();
	check(get(PC) != pc && get(ESR_EL1) == esr, "injecting");
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

/* Tells of a page: a record of one memory error (UEFI 2.10, N.2.5), when the guest has read the one before. */
static void tell(uint64_t page, uint64_t number)
{
	static const unsigned char platform_memory[16] = {
		0x14, 0x11, 0xbc, 0xa5, 0x64, 0x6f, 0xde, 0x4e, 0xb8, 0x63, 0x3e, 0x83, 0xed, 0x7c, 0x83, 0xb1 };
	struct __attribute__((packed)) {
		uint32_t status, raw_offset, raw_length, length, severity;
		unsigned char type[16];
		uint32_t section_severity;
		uint16_t revision;
		unsigned char validation, flags;
		uint32_t section_length;
		unsigned char fru[36];
		uint64_t number, valid, error, address, mask;
		unsigned char device[40];
		uint8_t kind;
		unsigned char rest[7];
	} record = {
		.status = 0x11, .length = RECORD - 20, .revision = 0x300, .section_length = 80, .number = number,
		.valid = 0x4007, .error = 0x400, .address = page, .mask = ~(PAGE - 1), .kind = 3 };
	volatile uint64_t *ack = (uint64_t *)(ram + READ_ACK), *status = (uint64_t *)(ram + STATUS_BLOCK);
	uint64_t first;

	_Static_assert(sizeof(record) == RECORD, "a record");
	check(*ack == 1 && (uint32_t)*status == 0, "the guest's reading");
	atomic_thread_fence(memory_order_acquire);
	memcpy(record.type, platform_memory, sizeof(platform_memory));
	memcpy(&first, &record, sizeof(first));
	*ack = 0;
	memcpy(ram + STATUS_BLOCK + sizeof(first), (char *)&record + sizeof(first), RECORD - sizeof(first));
	atomic_thread_fence(memory_order_release);
	*status = first;
}

/*
 * Runs the guest to its end. Returns how often it left on account of what it is there to do. On a thread beside another, as in
 * any program that does more than this: the kernel's look at a file descriptor takes longer there.
 */
static void *serve(void *argument)
{
	const char *mode = argument;
	int least = strcmp(mode, "least") == 0, told = strcmp(mode, "told") == 0;
	int first = told || strcmp(mode, "first") == 0;
	unsigned long exits = 0, sent = 0;

	pthread_setname_np(pthread_self(), "vcpu-0");
	for (;;) {
		must(vcpu, KVM_RUN, NULL, "KVM_RUN");
		switch (run->exit_reason) {
		case KVM_EXIT_ARM_SEA:
			exits++;
			if (first)
				quarantine((run->arm_sea.gpa & ~(PAGE - 1)) - RAM_BASE);
			if (told)
				tell(run->arm_sea.gpa & ~(PAGE - 1), exits);
			if (least)
				inject_abort();
			else if (told)
				inject_and_look(0, 0x92000010);
			else
				inject_and_look(5, 0x96000010);
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

/* A guest that is booted as a kernel has one. */
static void create_interrupt_controller(int vm)
{
	struct kvm_create_device gic = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	uint64_t distributor = 0x3fff0000, redistributor = 0x3ffd0000;
	uint32_t interrupts = 64;

	must(vm, KVM_CREATE_DEVICE, &gic, "KVM_CREATE_DEVICE");
	const struct kvm_device_attr attributes[] = {
		{ 0, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, (uintptr_t)&interrupts },
		{ 0, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, (uintptr_t)&distributor },
		{ 0, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, (uintptr_t)&redistributor },
		{ 0, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0 } };
	for (unsigned index = 0; index < 4; index++)
		must((int)gic.fd, KVM_SET_DEVICE_ATTR, &attributes[index], "KVM_SET_DEVICE_ATTR");
}

static int create_guest(const char *image)
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
	return vm;
}

static void poison_pages(void)
{
	int injector = open("/dev/sea-inject", O_RDWR | O_CLOEXEC);

	check(injector >= 0, "opening /dev/sea-inject");
	check(dprintf(injector, "arm id=1 tgid=%d start=%#lx end=%#lx fsc=0x10\n", getpid(), RAM_BASE + POISON,
		      RAM_BASE + DEVICE_TREE) > 0, "arming");
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
		{ "told", ABORTS, RAM_BASE + POISON + 16, PAGE },
		{ "mmio-read", LOADS, UART_LSR, 0 },
		{ "mmio-write", STORES, UART_THR, 0 },
	};
	unsigned mode = 0, most = (READ - TIMES) / sizeof(uint64_t), times = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
	pthread_t thread;
	void *exits;

	while (argc == 4 && mode < 7 && strcmp(argv[1], modes[mode].name) != 0)
		mode++;
	if (mode < 7 && modes[mode].step != 0)
		most = (DEVICE_TREE - POISON) / PAGE;
	if (times == 0 || mode == 7 || times > most) {
		fprintf(stderr, "Expected <mode> <times> <image> for kvm-loop\n");
		return 2;
	}
	int vm = create_guest(argv[3]), told = strcmp(argv[1], "told") == 0;
	if (told) {
		create_interrupt_controller(vm);
		*(uint64_t *)(ram + READ_ACK) = 1;
	}
	poison_pages();
	open_userfaultfd();
	const uint64_t registers[][2] = {
		{ PC, RAM_BASE }, { X(0), times }, { X(2), modes[mode].address }, { X(3), modes[mode].step },
		{ X(4), RAM_BASE + TIMES }, { X(5), modes[mode].what },
		{ X(7), RAM_BASE + READ_ACK }, { X(8), RAM_BASE + STATUS_BLOCK }, { X(9), RAM_BASE + READ } };
	for (unsigned index = 0; index < 9; index++)
		set(registers[index][0], registers[index][1]);
	check(pthread_create(&thread, NULL, serve, argv[1]) == 0 && pthread_join(thread, &exits) == 0, "pthread_create");
	if (modes[mode].what != SPINS && (unsigned long)exits != times) {
		fprintf(stderr, "kvm-loop: expected %u exits but received %lu\n", times, (unsigned long)exits);
		return 1;
	}
	for (unsigned index = 0; index < times; index++)
		printf("%lu\n", ((uint64_t *)(ram + TIMES))[index]);
	for (unsigned long index = 0; told && index < times * RECORD; index++)
		printf("%02x", (unsigned char)ram[READ + index]);
	return 0;
}
