/*
 * Stands before the C library in a program under test (LD_PRELOAD), and counts its system calls on certain files, in one order for all of
 * its threads: strace counts for each thread by itself, and could not reach what a second thread does after the first. At the n-th call
 * the program ends as by kill -9, or that one call fails. faulty-calls.ts is the other side.
 *
 *   FAULT_UNDER  paths with a colon between them: calls on these and on what lies below are meant; `socket` is every socket
 *   FAULT_KINDS  the kinds of calls that are counted, each between two commas: ,create,write,
 *   FAULT_AT     n; 0 for never
 *   FAULT_ERROR  the errno that the n-th call fails with, or 0 to end the program before it
 *   FAULT_TORN   if not empty, a write before which the program ends has written half of its bytes
 *   FAULT_LOG    gets a line for each call there, counted or not, tabs between: `!` if it is the n-th or nothing, its kind, its paths
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { sector = 4096 };

static const char *under, *kinds, *torn;
static int error_number, log_fd = -1;
static long fatal_count;
static atomic_long counted;

__attribute__((constructor)) static void begin(void) {
  const char *at = getenv("FAULT_AT"), *error = getenv("FAULT_ERROR"), *log = getenv("FAULT_LOG");
  kinds = getenv("FAULT_KINDS");
  torn = getenv("FAULT_TORN");
  fatal_count = at ? atol(at) : 0;
  error_number = error ? atoi(error) : 0;
  int (*open_file)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
  if (log) log_fd = open_file(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  under = getenv("FAULT_UNDER"); /* last: without it nothing is counted */
}

/* What a descriptor stands for: a path, or socket:[N]; nothing for the standard streams, which are sockets where Node started the program. */
static void path_of_fd(int fd, char *path) {
  char link[64];
  path[0] = 0;
  if (fd <= STDERR_FILENO) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  path[length < 0 ? 0 : length] = 0;
}

/* A path with the descriptor in front of it resolved, if it begins with one: /proc/self/fd/N/name. */
static void resolve(int directory, const char *name, char *path) {
  char start[PATH_MAX];
  int fd, end = 0;
  if (sscanf(name, "/proc/self/fd/%d%n", &fd, &end) == 1 && end > 0) {
    path_of_fd(fd, start);
    name += end;
    while (*name == '/' || (name[0] == '.' && (name[1] == '/' || name[1] == 0))) name++;
  } else if (*name == '/') {
    start[0] = 0;
    name++;
  } else if (directory == AT_FDCWD) {
    if (!getcwd(start, sizeof start)) start[0] = 0;
  } else {
    path_of_fd(directory, start);
  }
  snprintf(path, PATH_MAX, *name || !*start ? "%.2000s/%.2000s" : "%.2000s%.2000s", start, name);
}

static int lies_under(const char *path) {
  for (const char *each = under; each && *each;) {
    size_t length = strcspn(each, ":");
    int is_prefix = strncmp(path, each, length) == 0;
    if (is_prefix && (path[length] == 0 || path[length] == '/' || path[length] == ':')) return 1;
    each += length + (each[length] == ':');
  }
  return 0;
}

static int is_wanted(const char *kind) {
  char between[32];
  snprintf(between, sizeof between, ",%s,", kind);
  return kinds && strstr(kinds, between) != NULL;
}

/* Counts a call and writes it down. 1 if it is the one: then `strike` comes next. */
static int is_fatal(const char *kind, const char *path, const char *other) {
  if (!under || !(lies_under(path) || (other && lies_under(other)))) return 0;
  int fatal = is_wanted(kind) && atomic_fetch_add(&counted, 1) + 1 == fatal_count;
  if (log_fd >= 0) {
    char line[2 * PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\t%s\n", fatal ? "!" : "", kind, path, other ? other : "");
    ssize_t (*write_log)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (write_log(log_fd, line, (size_t)length) < 0) log_fd = -1;
  }
  return fatal;
}

/* The program ends here, or the call has failed. */
static long strike(void) {
  if (error_number == 0) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  errno = error_number;
  return -1;
}

#define NEXT(name, type, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

/* Functions of one path, of two, and of a descriptor. */
#define ON_PATH(name, kind, directory, path, type, parameters, arguments, ...) \
  type name parameters { \
    char at[PATH_MAX]; \
    int saved = errno; \
    resolve(directory, path, at); \
    if (is_fatal(kind, at, NULL)) return (type)strike(); \
    errno = saved; \
    return NEXT(name, type, __VA_ARGS__) arguments; \
  }
#define ON_PATHS(name, kind, directory, path, other_directory, other, parameters, arguments, ...) \
  int name parameters { \
    char at[PATH_MAX], to[PATH_MAX]; \
    int saved = errno; \
    resolve(directory, path, at); \
    resolve(other_directory, other, to); \
    if (is_fatal(kind, at, to)) return (int)strike(); \
    errno = saved; \
    return NEXT(name, int, __VA_ARGS__) arguments; \
  }
#define ON_FD(name, kind, type, before, parameters, arguments, ...) \
  type name parameters { \
    char at[PATH_MAX]; \
    int saved = errno; \
    path_of_fd(fd, at); \
    if (is_fatal(strncmp(at, "socket", 6) == 0 ? "send" : kind, at, NULL)) { \
      if (error_number == 0 && torn && *torn) { before; } \
      return (type)strike(); \
    } \
    errno = saved; \
    return NEXT(name, type, __VA_ARGS__) arguments; \
  }

static size_t half(size_t size) { return size >= 2 * sector ? size / 2 / sector * sector : size / 2; }

#define WRITE_HALF if (NEXT(write, ssize_t, int, const void *, size_t)(fd, bytes, half(size)) < 0) torn = NULL
#define PWRITE_HALF if (NEXT(pwrite64, ssize_t, int, const void *, size_t, off_t)(fd, bytes, half(size), offset) < 0) torn = NULL

ON_FD(write, "write", ssize_t, WRITE_HALF, (int fd, const void *bytes, size_t size), (fd, bytes, size), int, const void *, size_t)
ON_FD(pwrite, "write", ssize_t, PWRITE_HALF, (int fd, const void *bytes, size_t size, off_t offset), (fd, bytes, size, offset), int, const void *, size_t, off_t)
ON_FD(pwrite64, "write", ssize_t, PWRITE_HALF, (int fd, const void *bytes, size_t size, off_t offset), (fd, bytes, size, offset), int, const void *, size_t, off_t)
ON_FD(writev, "write", ssize_t, (void)0, (int fd, const struct iovec *list, int count), (fd, list, count), int, const struct iovec *, int)
ON_FD(pwritev, "write", ssize_t, (void)0, (int fd, const struct iovec *list, int count, off_t offset), (fd, list, count, offset), int, const struct iovec *, int, off_t)
ON_FD(pwritev64, "write", ssize_t, (void)0, (int fd, const struct iovec *list, int count, off_t offset), (fd, list, count, offset), int, const struct iovec *, int, off_t)
ON_FD(sendmsg, "send", ssize_t, (void)0, (int fd, const struct msghdr *message, int flags), (fd, message, flags), int, const struct msghdr *, int)
ON_FD(fsync, "fsync", int, (void)0, (int fd), (fd), int)
ON_FD(fdatasync, "fsync", int, (void)0, (int fd), (fd), int)
ON_FD(syncfs, "syncfs", int, (void)0, (int fd), (fd), int)
ON_FD(ftruncate, "truncate", int, (void)0, (int fd, off_t length), (fd, length), int, off_t)
ON_FD(ftruncate64, "truncate", int, (void)0, (int fd, off_t length), (fd, length), int, off_t)
ON_FD(fchmod, "chmod", int, (void)0, (int fd, mode_t mode), (fd, mode), int, mode_t)
ON_FD(futimens, "utime", int, (void)0, (int fd, const struct timespec times[2]), (fd, times), int, const struct timespec *)

/* What comes out of a socket or a pipe is no matter of the disk. */
#define ON_READ(name, parameters, arguments, ...) \
  ssize_t name parameters { \
    char at[PATH_MAX]; \
    int saved = errno; \
    path_of_fd(fd, at); \
    if (*at == '/' && is_fatal("read", at, NULL)) return (ssize_t)strike(); \
    errno = saved; \
    return NEXT(name, ssize_t, __VA_ARGS__) arguments; \
  }
ON_READ(read, (int fd, void *bytes, size_t size), (fd, bytes, size), int, void *, size_t)
ON_READ(pread, (int fd, void *bytes, size_t size, off_t offset), (fd, bytes, size, offset), int, void *, size_t, off_t)
ON_READ(pread64, (int fd, void *bytes, size_t size, off_t offset), (fd, bytes, size, offset), int, void *, size_t, off_t)
ON_READ(readv, (int fd, const struct iovec *list, int count), (fd, list, count), int, const struct iovec *, int)
ON_READ(preadv, (int fd, const struct iovec *list, int count, off_t offset), (fd, list, count, offset), int, const struct iovec *, int, off_t)
ON_READ(preadv64, (int fd, const struct iovec *list, int count, off_t offset), (fd, list, count, offset), int, const struct iovec *, int, off_t)

ON_PATH(chmod, "chmod", AT_FDCWD, path, int, (const char *path, mode_t mode), (path, mode), const char *, mode_t)
ON_PATH(unlink, "unlink", AT_FDCWD, path, int, (const char *path), (path), const char *)
ON_PATH(unlinkat, "unlink", directory, path, int, (int directory, const char *path, int flags), (directory, path, flags), int, const char *, int)
ON_PATH(rmdir, "unlink", AT_FDCWD, path, int, (const char *path), (path), const char *)
ON_PATH(mkdir, "mkdir", AT_FDCWD, path, int, (const char *path, mode_t mode), (path, mode), const char *, mode_t)
ON_PATH(mkdirat, "mkdir", directory, path, int, (int directory, const char *path, mode_t mode), (directory, path, mode), int, const char *, mode_t)
ON_PATH(symlink, "symlink", AT_FDCWD, path, int, (const char *target, const char *path), (target, path), const char *, const char *)
ON_PATH(utimensat, "utime", directory, path, int, (int directory, const char *path, const struct timespec times[2], int flags), (directory, path, times, flags), int, const char *, const struct timespec *, int)
ON_PATHS(link, "link", AT_FDCWD, path, AT_FDCWD, other, (const char *path, const char *other), (path, other), const char *, const char *)
ON_PATHS(linkat, "link", directory, path, toward, other, (int directory, const char *path, int toward, const char *other, int flags), (directory, path, toward, other, flags), int, const char *, int, const char *, int)
ON_PATHS(rename, "rename", AT_FDCWD, path, AT_FDCWD, other, (const char *path, const char *other), (path, other), const char *, const char *)
ON_PATHS(renameat, "rename", directory, path, toward, other, (int directory, const char *path, int toward, const char *other), (directory, path, toward, other), int, const char *, int, const char *)
ON_PATHS(renameat2, "rename", directory, path, toward, other, (int directory, const char *path, int toward, const char *other, unsigned int flags), (directory, path, toward, other, flags), int, const char *, int, const char *, unsigned int)

#define ON_OPEN(name, directory, parameters, arguments, ...) \
  int name parameters { \
    char at[PATH_MAX]; \
    int saved = errno; \
    mode_t mode = 0; \
    if (flags & O_CREAT) { \
      va_list rest; \
      va_start(rest, flags); \
      mode = va_arg(rest, mode_t); \
      va_end(rest); \
    } \
    resolve(directory, path, at); \
    if (is_fatal(flags & O_CREAT ? "create" : "open", at, NULL)) return (int)strike(); \
    errno = saved; \
    return NEXT(name, int, __VA_ARGS__) arguments; \
  }
ON_OPEN(open, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode), const char *, int, ...)
ON_OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode), const char *, int, ...)
ON_OPEN(openat, directory, (int directory, const char *path, int flags, ...), (directory, path, flags, mode), int, const char *, int, ...)
ON_OPEN(openat64, directory, (int directory, const char *path, int flags, ...), (directory, path, flags, mode), int, const char *, int, ...)
