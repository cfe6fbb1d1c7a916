/* A machine's clock that is off, for one process: to be preloaded.
 *
 * All that tells Unix time is shifted by the seconds in the file that SHIFTED_CLOCK names (a double), at any moment
 * anew, so that a test sets "the machine's clock" by writing it. Waits until a moment of that clock are shifted back.
 * Programs without a C library, as the libp2p daemon is one, do not notice.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000LL

static const volatile double *shift_s;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static void *next(const char *name) {
    /* The oldest symbol of a name may belong to a thread library of the last century. */
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIFTED_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) abort();
    void *mapped = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) abort();
    shift_s = mapped;
}

static struct timespec moved(struct timespec time, double by_s) {
    long long ns = time.tv_sec * NS + time.tv_nsec + llround(by_s * 1e9);
    return (struct timespec){ns / NS, ns % NS};
}

static double shift(void) { return shift_s ? *shift_s : 0.0; }

static int is_unix_time(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real_clock_gettime) real_clock_gettime = next("clock_gettime");
    int result = real_clock_gettime(clock, time);
    if (result == 0 && is_unix_time(clock)) *time = moved(*time, shift());
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *told) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (told) *told = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *time, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, time) == 0 ? base : 0;
}

/* Deadlines by which clock, these are not told; nobody's computer has been on since 2001. */
static struct timespec deadline(const struct timespec *until) {
    return until->tv_sec > NS ? moved(*until, -shift()) : *until;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = next("pthread_cond_timedwait");
    struct timespec then = deadline(until);
    return real(condition, mutex, &then);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec then = deadline(until);
    return real(semaphore, &then);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    static int (*real)(pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
    struct timespec then = deadline(until);
    return real(mutex, &then);
}
