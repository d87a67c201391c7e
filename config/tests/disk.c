/* A disk that tests can fill: LD_PRELOADed, it has room for as many writes below $DISK_FOLDER as the file $DISK_ROOM, a
   long, says. Each takes one away; once that is negative, writing, flushing, and making files and folders fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *folder;
static long *room;

__attribute__((constructor)) static void open_room(void) {
    const char *path = getenv("DISK_ROOM");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *memory = file < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    if (memory != MAP_FAILED) room = memory, folder = getenv("DISK_FOLDER");
}

static int refused_at(const char *path) {
    if (!folder || strncmp(path, folder, strlen(folder))) return 0;
    if (__atomic_sub_fetch(room, 1, __ATOMIC_SEQ_CST) >= 0) return 0;
    errno = ENOSPC;
    return 1;
}

static int refused(int file) {
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 0 && (path[length] = 0, refused_at(path));
}

#define FAILING(type, name, fails, parameters, arguments) \
    type name parameters { return fails ? -1 : ((type(*) parameters)dlsym(RTLD_NEXT, #name)) arguments; }

FAILING(ssize_t, write, refused(file), (int file, const void *data, size_t size), (file, data, size))
FAILING(ssize_t, pwrite64, refused(file), (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
FAILING(int, fsync, refused(file), (int file), (file))
FAILING(int, fdatasync, refused(file), (int file), (file))
FAILING(int, mkdir, refused_at(path), (const char *path, mode_t mode), (path, mode))

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (flags & O_CREAT && access(path, F_OK) && refused_at(path)) return -1;
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64"))(path, flags, mode);
}
