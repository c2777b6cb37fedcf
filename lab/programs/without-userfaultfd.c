// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// Runs a command to which userfaultfd is denied, as in most containers: without-userfaultfd <command> [<arguments>]
//
// A seccomp filter answers userfaultfd(2), and the ioctl of /dev/userfaultfd that makes one, with EPERM.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#elif defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#else
#error "Expected arm64 or x86-64"
#endif

/* As a shell says that a command could not be run. */
#define NOT_RUN 126

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define EQUAL(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (then), (otherwise))
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, (value))

static struct sock_filter filter[] = {
	/* 0 */ LOAD(arch),
	/* 1 */ EQUAL(NATIVE, 0, 5),
	/* 2 */ LOAD(nr),
	/* 3 */ EQUAL(SYS_userfaultfd, 3, 0),
	/* 4 */ EQUAL(SYS_ioctl, 0, 3),
	/* 5: all numbers of ioctls fit in the low half, which comes first on these machines */ LOAD(args[1]),
	/* 6 */ EQUAL(USERFAULTFD_IOC_NEW, 0, 1),
	/* 7 */ ANSWER(SECCOMP_RET_ERRNO | EPERM),
	/* 8 */ ANSWER(SECCOMP_RET_ALLOW),
};

static int failed(const char *operation)
{
	fprintf(stderr, "without-userfaultfd: %s failed: %s\n", operation, strerrorname_np(errno));
	return NOT_RUN;
}

int main(int argc, char **argv)
{
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	if (argc < 2) {
		fprintf(stderr, "Expected a command for without-userfaultfd but received none\n");
		return NOT_RUN;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return failed("prctl(PR_SET_NO_NEW_PRIVS)");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
		return failed("seccomp");
	execvp(argv[1], argv + 1);
	return failed(argv[1]);
}
