// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// The first process of the guest: obeys commands from the console, a line each, and tells what becomes of its processes.
// README.md beside this file has the commands. The bystander and the stress workers are started at once: afterwards
// this process asks the kernel for as little memory as it can, so that it is not the one that meets a page which another left.
#define _GNU_SOURCE
#include "console.h"
#include "process.h"
#include "report.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* A program that was started, and the end of the pipe to its standard input. */
struct program {
	const char *name;
	pid_t pid;
	int input;
};

static struct program bystander = { .name = "bystander", .input = -1 };
/* One works, the other takes its place should it be lost. */
static struct program workers[] = { { .name = "stress", .input = -1 }, { .name = "stress", .input = -1 } };
static struct program *worker = &workers[0];
/* The first was started here, the others are processes that it made. */
static struct program victims[16] = { [0 ... 15] = { .name = "victim", .input = -1 } };
static struct program agent = { .name = "retire-pages", .input = -1 };
static _Atomic uint64_t *counter;

static void write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);

	if (file < 0 || write(file, text, strlen(text)) < 0)
		fail(path);
	close(file);
}

/* Starts /bin/<name> with `input` as its standard input. */
static void start(struct program *program, int input)
{
	char path[32];

	snprintf(path, sizeof(path), "/bin/%s", program->name);
	program->pid = fork();
	if (program->pid < 0)
		fail("fork");
	if (program->pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(input, 0);
		execl(path, program->name, (char *)NULL);
		fail("execl");
	}
	close(input);
}

static void start_with_pipe(struct program *program)
{
	int ends[2];

	if (program->input >= 0)
		close(program->input);
	if (pipe2(ends, O_CLOEXEC) != 0)
		fail("pipe");
	program->input = ends[1];
	start(program, ends[0]);
}

static void start_bystander(void)
{
	int file = memfd_create("counter", MFD_CLOEXEC);

	if (file < 0 || ftruncate(file, sizeof(*counter)) != 0)
		fail("memfd");
	counter = mmap(NULL, sizeof(*counter), PROT_READ, MAP_SHARED, file, 0);
	if (counter == MAP_FAILED)
		fail("mmap");
	start(&bystander, file);
}

/* The victim that has this process ID, or with 0 a free place for one; NULL where there is none. */
static struct program *find_victim(pid_t pid)
{
	for (size_t index = 0; index < sizeof(victims) / sizeof(*victims); index++)
		if (victims[index].pid == pid)
			return &victims[index];
	return NULL;
}

static struct program *find(pid_t pid)
{
	static struct program orphan = { .name = "orphan", .input = -1 };
	struct program *found = find_victim(pid);

	for (size_t index = 0; index < 2; index++)
		if (pid == workers[index].pid)
			return &workers[index];
	if (pid == agent.pid)
		return &agent;
	return found != NULL ? found : pid == bystander.pid ? &bystander : &orphan;
}

/* Lets a victim go on that stopped on its way: because it is new, because it made another, or for a signal. */
static void go_on(pid_t pid, int status)
{
	int event = status >> 16, signal = event == 0 ? WSTOPSIG(status) : 0;
	struct program *place = find_victim(0);
	siginfo_t info;

	if (event == PTRACE_EVENT_STOP && find_victim(pid) == NULL && place != NULL)
		place->pid = pid;
	/* A debugger sees the signal before it acts. It is passed on as it is. */
	if (signal != 0 && ptrace(PTRACE_GETSIGINFO, pid, NULL, &info) == 0)
		report("signal program=%s pid=%d number=%d code=%d address=%#" PRIxPTR, find(pid)->name, pid, info.si_signo,
		       info.si_code, (uintptr_t)info.si_addr);
	ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)signal);
}

/* Tells of each process that ended, and of each signal that is about to reach a victim. */
static void watch_children(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
		if (WIFSTOPPED(status)) {
			go_on(pid, status);
			continue;
		}
		struct program *program = find(pid);
		report("ended program=%s pid=%d exit=%d signal=%d", program->name, pid,
		       WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
		program->pid = 0;
	}
}

static void report_memory(void)
{
	static const char *const fields[] = { "MemTotal", "MemFree", "HardwareCorrupted" };
	unsigned long kib[] = { 0, 0, 0 };
	char text[4096], pattern[32];

	read_file("/proc/meminfo", text, sizeof(text));
	for (size_t index = 0; index < 3; index++) {
		const char *found = strstr(text, fields[index]);
		snprintf(pattern, sizeof(pattern), "%s: %%lu", fields[index]);
		if (found != NULL)
			sscanf(found, pattern, &kib[index]);
	}
	report("memory total_kib=%lu free_kib=%lu corrupted_kib=%lu", kib[0], kib[1], kib[2]);
}

/* What a process does: its state, and the kernel's function that it waits in. */
static void report_process(pid_t pid)
{
	char path[64], function[64];

	snprintf(path, sizeof(path), "/proc/%d/wchan", pid);
	read_file(path, function, sizeof(function));
	report("process pid=%d state=%c function=%s", pid, process_state(pid), function[0] == '\0' ? "0" : function);
}

static void end_guest(int how)
{
	sync();
	reboot(how);
	fail("reboot");
}

/* Starts the agent that retires lost pages, or sends it a signal. */
static void use_agent(int signal)
{
	if (signal == 0 && agent.pid == 0) {
		start(&agent, open("/dev/null", O_RDONLY | O_CLOEXEC));
		report("agent state=started pid=%d", agent.pid);
	} else if (signal != 0 && agent.pid != 0 && kill(agent.pid, signal) == 0) {
		report("agent state=signalled pid=%d", agent.pid);
	} else {
		report("refused command=agent expected=%s received=%d", agent.pid == 0 ? "start" : "signal", signal);
	}
}

static int tell(struct program *program, const char *text)
{
	if (program->pid != 0 && write(program->input, text, strlen(text)) > 0)
		return 1;
	report("refused command=%s expected=%s received=none", program == victims ? "go" : "stress", program->name);
	return 0;
}

static void start_victim(const char *what)
{
	char line[128];

	for (size_t index = 0; index < sizeof(victims) / sizeof(*victims); index++)
		if (victims[index].pid != 0) {
			report("refused command=victim expected=no-victim received=pid-%d", victims[index].pid);
			return;
		}
	start_with_pipe(victims);
	/* It is seen as it dies, and does not notice; and so are the processes that it makes. */
	if (ptrace(PTRACE_SEIZE, victims->pid, NULL, PTRACE_O_TRACEFORK) != 0)
		fail("ptrace");
	snprintf(line, sizeof(line), "%s\n", what);
	tell(victims, line);
}

static void obey(char *line)
{
	const char *command = strsep(&line, " ");
	const char *argument = line == NULL ? "" : line;
	char text[64];

	if (strcmp(command, "ping") == 0) {
		report("pong token=%s", argument);
	} else if (strcmp(command, "bystander") == 0) {
		report("bystander pid=%d count=%" PRIu64, bystander.pid, atomic_load(counter));
	} else if (strcmp(command, "memory") == 0) {
		report_memory();
	} else if (strcmp(command, "process") == 0) {
		report_process(atoi(argument));
	} else if (strcmp(command, "victim") == 0) {
		start_victim(argument);
	} else if (strcmp(command, "go") == 0) {
		tell(victims, "!");
	} else if (strcmp(command, "stress") == 0) {
		snprintf(text, sizeof(text), "%s\n", argument);
		if (tell(worker, text))
			report("stress state=started pid=%d", worker->pid);
	} else if (strcmp(command, "relieve") == 0) {
		worker = &workers[1];
	} else if (strcmp(command, "agent") == 0) {
		use_agent(atoi(argument));
	} else if (strcmp(command, "echo") == 0) {
		unsigned long count = strtoul(argument, NULL, 10);
		report("echo state=ready bytes=%lu", count);
		report("echo state=%s bytes=%lu", console_echo(count) ? "done" : "failed", count);
	} else if (strcmp(command, "poweroff") == 0) {
		end_guest(RB_POWER_OFF);
	} else if (strcmp(command, "reboot") == 0) {
		end_guest(RB_AUTOBOOT);
	} else if (strcmp(command, "panic") == 0) {
		write_file("/proc/sysrq-trigger", "c");
	} else {
		report("refused command=%s", command);
	}
}

static void prepare(void)
{
	static const char *const mounts[][2] = { { "proc", "/proc" }, { "sysfs", "/sys" }, { "devtmpfs", "/dev" }, { "tmpfs", "/tmp" } };

	for (size_t index = 0; index < sizeof(mounts) / sizeof(*mounts); index++) {
		mkdir(mounts[index][1], 0755);
		if (mount(mounts[index][0], mounts[index][1], mounts[index][0], 0, NULL) != 0)
			fail("mount");
	}
	/* What programs say is not to be left out for being too much, and from here on all that the kernel says is shown. */
	write_file("/proc/sys/kernel/printk_devkmsg", "on\n");
	write_file("/proc/sys/kernel/printk", "8\n");
	console_open();
	signal(SIGPIPE, SIG_IGN);
}

int main(void)
{
	struct utsname kernel;
	sigset_t child;

	prepare();
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	struct pollfd sources[] = {
		{ .fd = 0, .events = POLLIN },
		{ .fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN },
	};
	start_bystander();
	start_with_pipe(&workers[0]);
	start_with_pipe(&workers[1]);
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		fail("mlockall");
	uname(&kernel);
	report("ready release=%s cpus=%ld", kernel.release, sysconf(_SC_NPROCESSORS_ONLN));
	for (;;) {
		if (poll(sources, 2, -1) < 0)
			fail("poll");
		if (sources[1].revents != 0) {
			struct signalfd_siginfo ignored;
			(void)!read(sources[1].fd, &ignored, sizeof(ignored));
			watch_children();
		}
		if (sources[0].revents != 0 && !console_receive())
			fail("console");
		for (char *line; (line = console_line()) != NULL;)
			if (*line != '\0')
				obey(line);
	}
}
