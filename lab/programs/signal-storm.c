// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// Raises a signal at threads of a process, again and again: signal-storm <pid> <signal> <microseconds> <name>...
//
// At all threads whose name begins with one of these, also at those that start later, each about so often. It ends when its
// standard input does, and prints how many signals it has raised.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST_THREADS 256
/* Between two looks for threads. */
#define ROUNDS 8

static pid_t threads[MOST_THREADS];
static int count;

static int is_wanted(pid_t pid, pid_t thread, char **names)
{
	char path[64], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", pid, thread);
	file = fopen(path, "r");
	/* It may have ended. */
	if (file == NULL)
		return 0;
	if (fgets(name, sizeof(name), file) == NULL)
		name[0] = '\0';
	fclose(file);
	for (; *names != NULL; names++)
		if (strncmp(name, *names, strlen(*names)) == 0)
			return 1;
	return 0;
}

static int look(pid_t pid, char **names)
{
	char path[32];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	folder = opendir(path);
	if (folder == NULL)
		return -1;
	count = 0;
	while ((entry = readdir(folder)) != NULL && count < MOST_THREADS) {
		pid_t thread = atoi(entry->d_name);

		if (thread > 0 && is_wanted(pid, thread, names))
			threads[count++] = thread;
	}
	closedir(folder);
	return 0;
}

int main(int argc, char **argv)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	unsigned long long raised = 0;
	struct timespec pause;
	long microseconds;
	int signal, round;
	pid_t pid;

	if (argc < 5) {
		fprintf(stderr, "Expected a process, a signal, microseconds and names for signal-storm but received %d arguments\n",
			argc - 1);
		return 2;
	}
	pid = atoi(argv[1]);
	signal = atoi(argv[2]);
	microseconds = atol(argv[3]);
	pause.tv_sec = microseconds / 1000000;
	pause.tv_nsec = microseconds % 1000000 * 1000;
	for (round = 0;; round++) {
		if (round % ROUNDS == 0 && look(pid, argv + 4) != 0) {
			fprintf(stderr, "signal-storm: process %d: %s\n", pid, strerror(errno));
			return 1;
		}
		/* One that has ended is left out, and one whose queue is full gets the next. */
		for (int index = 0; index < count; index++)
			raised += syscall(SYS_tgkill, pid, threads[index], signal) == 0;
		if (poll(&input, 1, 0) > 0)
			break;
		nanosleep(&pause, NULL);
	}
	printf("%llu\n", raised);
	return 0;
}
