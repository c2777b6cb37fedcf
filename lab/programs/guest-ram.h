/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Pages of a guest's RAM by the arguments [--nth=<n>] <pid> <offset> [<bytes>], for programs that do something to them. */
#ifndef GUEST_RAM_H
#define GUEST_RAM_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096UL

static const char MEMFD[] = "/memfd:seawall-guest";

/* Pages of the n-th memfd `seawall-guest` among the descriptors of a process, mapped here too. */
struct guest_ram {
	unsigned long pid, offset, bytes;
	int file;
	char *pages;
};

static int refuse(const char *what, const char *received)
{
	printf("Expected %s for %s but received %s\n", what, program_invocation_short_name, received);
	return 2;
}

static int failed(const char *operation)
{
	printf("%s failed: %s\n", operation, strerrorname_np(errno));
	return 1;
}

static int parse(const char *text, unsigned long *value)
{
	char *end;

	errno = 0;
	*value = strtoul(text, &end, 0);
	return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0;
}

static int compare_numbers(const struct dirent **left, const struct dirent **right)
{
	return atoi((*left)->d_name) - atoi((*right)->d_name);
}

/* Opens the n-th memfd of guest RAM, counted from 0 in the order of the process's descriptors. -1 and errno otherwise. */
static int open_guest_ram(unsigned long pid, unsigned long nth)
{
	char folder[64], path[PATH_MAX], target[PATH_MAX];
	struct dirent **entries;
	int count, file = -1;
	unsigned long found = 0;

	snprintf(folder, sizeof(folder), "/proc/%lu/fd", pid);
	count = scandir(folder, &entries, NULL, compare_numbers);
	if (count < 0)
		return -1;
	errno = ENOENT;
	for (int index = 0; index < count && file < 0; index++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[index]->d_name);
		ssize_t length = readlink(path, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = '\0';
		if (strncmp(target, MEMFD, sizeof(MEMFD) - 1) == 0 && found++ == nth) {
			file = open(path, O_RDWR | O_CLOEXEC);
			break;
		}
		errno = ENOENT;
	}
	return file;
}

/* A line of /proc/PID/maps, as far as it matters here. */
struct mapping {
	unsigned long start, end, offset, inode;
};

static int next_mapping(FILE *maps, struct mapping *mapping)
{
	char line[PATH_MAX + 128];

	return fgets(line, sizeof(line), maps) != NULL && sscanf(line, "%lx-%lx %*s %lx %*s %lu", &mapping->start, &mapping->end,
								 &mapping->offset, &mapping->inode) == 4;
}

/*
 * Where the process has put other memory in the place of a page of its guest's, that is what is meant: opens its file instead
 * of guest RAM's, and changes the offset to that in it. 0, or -1 and errno.
 */
static int follow_replacement(struct guest_ram *ram)
{
	struct mapping mapping;
	struct stat memfd;
	char path[128];
	unsigned long base = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%lu/maps", ram->pid);
	if (fstat(ram->file, &memfd) != 0 || (maps = fopen(path, "re")) == NULL)
		return -1;
	while (base == 0 && next_mapping(maps, &mapping))
		if (mapping.inode == memfd.st_ino)
			base = mapping.start - mapping.offset;
	rewind(maps);
	while (base != 0 && next_mapping(maps, &mapping)) {
		unsigned long address = base + ram->offset;
		if (address < mapping.start || address >= mapping.end || mapping.inode == memfd.st_ino)
			continue;
		close(ram->file);
		snprintf(path, sizeof(path), "/proc/%lu/map_files/%lx-%lx", ram->pid, mapping.start, mapping.end);
		ram->file = open(path, O_RDWR | O_CLOEXEC);
		ram->offset = mapping.offset + (address - mapping.start);
		break;
	}
	fclose(maps);
	return ram->file < 0 ? -1 : 0;
}

/* Maps what the arguments say. 0, or the exit code where they are not understood or the pages are not there. */
static int map_guest_ram(int argc, char **argv, struct guest_ram *ram)
{
	unsigned long nth = 0;

	ram->bytes = PAGE;
	if (argc > 1 && strncmp(argv[1], "--nth=", 6) == 0) {
		if (!parse(argv[1] + 6, &nth))
			return refuse("a number for --nth", argv[1] + 6);
		argv++;
		argc--;
	}
	if (argc != 3 && argc != 4)
		return refuse("[--nth=<n>] <pid> <offset> [<bytes>]", "something else");
	if (!parse(argv[1], &ram->pid))
		return refuse("a process id", argv[1]);
	if (!parse(argv[2], &ram->offset) || ram->offset % PAGE != 0)
		return refuse("the offset of a page", argv[2]);
	if (argc == 4 && (!parse(argv[3], &ram->bytes) || ram->bytes == 0 || ram->bytes % PAGE != 0))
		return refuse("whole pages", argv[3]);

	ram->file = open_guest_ram(ram->pid, nth);
	if (ram->file < 0)
		return failed("looking for memfd:seawall-guest");
	if (follow_replacement(ram) != 0)
		return failed("looking for what is mapped there");
	ram->pages = mmap(NULL, ram->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ram->file, (off_t)ram->offset);
	return ram->pages == MAP_FAILED ? failed("mmap") : 0;
}

#endif
