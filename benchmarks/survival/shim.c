/* Faults of the disk and of the clock, for every process that is started with this preloaded.

   SURVIVAL_SHIM names a file of eight 64-bit numbers, which the test sets while processes run:
   [0] errno that calls fail with, 0 for none   [1] calls that still succeed before that
   [2] how many calls fail then                 [3] how many failed
   [4] seconds that the clock of the day is off
   SURVIVAL_BELOW: only files below this folder are harmed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *state;
static const char *below;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("SURVIVAL_SHIM");
    below = getenv("SURVIVAL_BELOW");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *found = mmap(NULL, 64, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED) state = found;
    close(fd);
}

static int harmed(int fd) {
    if (!state || !state[0] || !below) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, below, strlen(below))) return 0;
    if (__sync_fetch_and_sub(&state[1], 1) > 0) return 0;
    if (__sync_fetch_and_sub(&state[2], 1) <= 0) return 0;
    __sync_fetch_and_add(&state[3], 1);
    errno = (int)state[0];
    return 1;
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    NEXT(write);
    return harmed(fd) ? -1 : next(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    NEXT(pwrite);
    return harmed(fd) ? -1 : next(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    NEXT(pwrite64);
    return harmed(fd) ? -1 : next(fd, data, size, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    NEXT(writev);
    return harmed(fd) ? -1 : next(fd, parts, count);
}
int fsync(int fd) {
    NEXT(fsync);
    return harmed(fd) ? -1 : next(fd);
}
int fdatasync(int fd) {
    NEXT(fdatasync);
    return harmed(fd) ? -1 : next(fd);
}
int clock_gettime(clockid_t which, struct timespec *at) {
    NEXT(clock_gettime);
    int said = next(which, at);
    if (!said && state && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        at->tv_sec += state[4];
    return said;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    NEXT(gettimeofday);
    int said = next(at, zone);
    if (!said && state) at->tv_sec += state[4];
    return said;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
