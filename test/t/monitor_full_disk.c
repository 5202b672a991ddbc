/*
 * monitor_full_disk.c
 *		A disk without room, to be loaded by LD_PRELOAD: while the file named by
 *		COZI_FULL_DISK exists, whatever would make a relation's file longer
 *		fails with ENOSPC.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Has the disk no room for the file to end there? */
static int
full(int fd, off_t end)
{
	const char *flag = getenv("COZI_FULL_DISK");
	char		link[64];
	char		path[4096];
	ssize_t		n;
	struct stat st;

	if (flag == NULL || access(flag, F_OK) != 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return 0;
	path[n] = '\0';
	return strstr(path, "/base/") != NULL && fstat(fd, &st) == 0 && end > st.st_size;
}

static off_t
total(const struct iovec *iov, int n)
{
	off_t		size = 0;

	for (int i = 0; i < n; i++)
		size += iov[i].iov_len;
	return size;
}

/* glibc has two names for each */
#define WRAP(result, name, parameters, arguments, end, failure) \
result \
name parameters \
{ \
	static result (*next) parameters; \
\
	if (next == NULL) \
		*(void **) &next = dlsym(RTLD_NEXT, #name); \
	if (full(fd, end)) \
		failure; \
	return next arguments; \
}

#define NO_ROOM		do { errno = ENOSPC; return -1; } while (0)

#define WRAP_BOTH(suffix) \
WRAP(ssize_t, pwrite##suffix, (int fd, const void *data, size_t size, off_t offset), \
	 (fd, data, size, offset), offset + (off_t) size, NO_ROOM) \
WRAP(ssize_t, pwritev##suffix, (int fd, const struct iovec *iov, int n, off_t offset), \
	 (fd, iov, n, offset), offset + total(iov, n), NO_ROOM) \
WRAP(int, ftruncate##suffix, (int fd, off_t size), (fd, size), size, NO_ROOM) \
WRAP(int, fallocate##suffix, (int fd, int mode, off_t offset, off_t size), \
	 (fd, mode, offset, size), offset + size, NO_ROOM) \
WRAP(int, posix_fallocate##suffix, (int fd, off_t offset, off_t size), \
	 (fd, offset, size), offset + size, return ENOSPC)

WRAP_BOTH()
WRAP_BOTH(64)
