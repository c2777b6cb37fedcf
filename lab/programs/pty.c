// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// Runs a command on a terminal of its own: pty <command> [<arguments>]
//
// Standard input is what is typed, standard output what the terminal shows. File 3 gets a line for everything that happens:
//
//   pid N                   the command was started
//   mode unchanged|changed  how the terminal is set, compared with what it was at first; at first, and at each change
//   stopped, continued      by job control
//   exit N, signal N        the command's end
//   left unchanged|changed  how it has left the terminal; the last line. `gone` where it was hung up
//
// The end of standard input hangs the terminal up.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define NOT_RUN 126
#define REPORTS 3
/* How often the terminal is looked at, in milliseconds. */
#define PERIOD 5

static int failed(const char *operation)
{
	fprintf(stderr, "pty: %s failed: %s\n", operation, strerrorname_np(errno));
	return NOT_RUN;
}

static void write_all(int file, const char *bytes, ssize_t count)
{
	while (count > 0) {
		ssize_t written = write(file, bytes, count);

		if (written < 0)
			return;
		bytes += written;
		count -= written;
	}
}

static const char *mode(int terminal, const struct termios *first)
{
	struct termios now;

	if (tcgetattr(terminal, &now) != 0)
		return "gone";
	if (now.c_iflag == first->c_iflag && now.c_oflag == first->c_oflag && now.c_cflag == first->c_cflag &&
	    now.c_lflag == first->c_lflag && memcmp(now.c_cc, first->c_cc, sizeof(now.c_cc)) == 0)
		return "unchanged";
	return "changed";
}

static int run(char **command, const char *name)
{
	int terminal;

	setsid();
	terminal = open(name, O_RDWR);
	if (terminal < 0 || ioctl(terminal, TIOCSCTTY, 0) != 0)
		return failed("opening the terminal");
	for (int file = 0; file <= 2; file++)
		dup2(terminal, file);
	close(terminal);
	close(REPORTS);
	execvp(command[0], command);
	return failed(command[0]);
}

/* Moves what there is from one file to the other. Answers whether there can be more. */
static int move(int from, int to)
{
	char bytes[4096];
	ssize_t count = read(from, bytes, sizeof(bytes));

	if (count > 0)
		write_all(to, bytes, count);
	return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

int main(int argc, char **argv)
{
	struct termios first;
	const char *last = "";
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	int terminal, status;
	char name[64];
	pid_t child;

	if (argc < 2) {
		fprintf(stderr, "Expected a command for pty but received none\n");
		return NOT_RUN;
	}
	if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 || ptsname_r(master, name, sizeof(name)) != 0)
		return failed("posix_openpt");
	/* Held open: the terminal outlives the command, and can be looked at then. */
	terminal = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0 || tcgetattr(terminal, &first) != 0)
		return failed(name);
	signal(SIGPIPE, SIG_IGN);
	child = fork();
	if (child < 0)
		return failed("fork");
	if (child == 0)
		_exit(run(argv + 1, name));
	dprintf(REPORTS, "pid %d\n", child);

	struct pollfd files[] = { { master, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };
	for (;;) {
		const char *now = mode(terminal, &first);
		pid_t changed;

		if (strcmp(now, last) != 0 && files[0].fd >= 0)
			dprintf(REPORTS, "mode %s\n", last = now);
		poll(files, 2, PERIOD);
		if (files[0].revents & POLLIN)
			move(master, STDOUT_FILENO);
		if (files[1].revents && !move(STDIN_FILENO, master)) {
			files[0].fd = files[1].fd = -1;
			close(terminal);
			close(master);
		}
		changed = waitpid(child, &status, WNOHANG | WUNTRACED | WCONTINUED);
		if (changed != child)
			continue;
		if (WIFSTOPPED(status))
			dprintf(REPORTS, "stopped\n");
		else if (WIFCONTINUED(status))
			dprintf(REPORTS, "continued\n");
		else
			break;
	}
	while (files[0].fd >= 0 && poll(files, 1, 0) > 0 && (files[0].revents & POLLIN))
		move(master, STDOUT_FILENO);
	if (WIFSIGNALED(status))
		dprintf(REPORTS, "signal %d\n", WTERMSIG(status));
	else
		dprintf(REPORTS, "exit %d\n", WEXITSTATUS(status));
	dprintf(REPORTS, "left %s\n", files[0].fd >= 0 ? mode(terminal, &first) : "gone");
	return 0;
}
