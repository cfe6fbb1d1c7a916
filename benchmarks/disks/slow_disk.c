/* A disk that is slow, or takes nothing, for what LD_PRELOADs this: every write to a file below $DISK_FOLDER, and
   every fsync of one, takes 200 ms while $DISK_SWITCH contains "slow", and fails with EROFS while it contains
   "read-only" (as on a file system that the kernel has remounted after an error, which no test can ask it for while
   files are open). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *folder;
static const char *switch_file;

__attribute__((constructor)) static void begin(void) {
    folder = getenv("DISK_FOLDER");
    switch_file = getenv("DISK_SWITCH");
}

static int mode(void) { /* 0: as always, 's': slow, 'r': read-only */
    char first = 0;
    if (!folder || !switch_file) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, switch_file, O_RDONLY);
    if (file < 0) return 0;
    if (syscall(SYS_read, file, &first, 1) < 1) first = 0;
    syscall(SYS_close, file);
    return first;
}

static int is_below(const char *path) { return folder && !strncmp(path, folder, strlen(folder)); }

static int is_ours(int fd) {
    char link[64], path[PATH_MAX];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static int refused(int fd) {
    if (!is_ours(fd)) return 0;
    int now = mode();
    if (now == 's') usleep(200000);
    if (now != 'r') return 0;
    errno = EROFS;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return refused(fd) ? -1 : NEXT(pwrite)(fd, data, n, at); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) { return refused(fd) ? -1 : NEXT(pwrite64)(fd, data, n, at); }
ssize_t write(int fd, const void *data, size_t n) { return refused(fd) ? -1 : NEXT(write)(fd, data, n); }
ssize_t writev(int fd, const struct iovec *data, int n) { return refused(fd) ? -1 : NEXT(writev)(fd, data, n); }
int fsync(int fd) { return refused(fd) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return refused(fd) ? -1 : NEXT(fdatasync)(fd); }
int ftruncate(int fd, off_t n) { return refused(fd) ? -1 : NEXT(ftruncate)(fd, n); }
int ftruncate64(int fd, off64_t n) { return refused(fd) ? -1 : NEXT(ftruncate64)(fd, n); }

static int opened(const char *path, int flags, mode_t mask) {
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && is_below(path) && mode() == 'r') {
        errno = EROFS;
        return -1;
    }
    return syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mask);
}

#define MASK                          \
    mode_t mask = 0;                  \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list rest;                 \
        va_start(rest, flags);        \
        mask = va_arg(rest, mode_t);  \
        va_end(rest);                 \
    }
int open(const char *path, int flags, ...) { MASK return opened(path, flags, mask); }
int open64(const char *path, int flags, ...) { MASK return opened(path, flags, mask); }
