/* A wall clock that the harness moves, for one process: preload it (LD_PRELOAD) and bind-mount a folder with a page.
 *
 * It replaces what programs read the time of day with (clock_gettime for CLOCK_REALTIME and its COARSE twin,
 * gettimeofday, time) and leaves every other clock alone: timers and time-outs must go on as they were.
 * The page's layout is in src/env/docker/clock_page.rs, which writes it.
 *
 * - No libc: system calls are made here, so no allocator and no loader can wait for itself in a clock call, and one
 *   build serves glibc, musl and the JVM.
 * - No lock and no allocation. The writer fills the slot that is not in use, then moves the sequence on; so a writer
 *   that dies half-way leaves the old setting in force.
 * - Without a page when the process starts, with a page that is too short, or past the page's deadline: true time. */

#define SEQUENCE 8
#define SLOTS 64
#define SLOT_SIZE 64
#define PAGE_SIZE 4096
#define PAGE_PATH "/run/fencepost-clock/page"

#include "sys.h"

struct timespec { long sec, nsec; };
struct timeval { long sec, usec; };
struct slot { long valid_until, base_mono, base_wall, offset, rate_ppm, strobe_by, strobe_period, strobe_since; };
enum { FIELDS = sizeof(struct slot) / sizeof(long) };
enum { REALTIME = 0, MONOTONIC = 1, REALTIME_COARSE = 5 };
static const unsigned char *page;

__attribute__((constructor)) static void map_page(void) {
    page = map_file(PAGE_PATH, O_RDONLY_CLOEXEC, PROT_READ, PAGE_SIZE);
}

static long load(const struct slot *slot, int field) { return __atomic_load_n((const long *)slot + field, __ATOMIC_RELAXED); }

/* The time of day in nanoseconds as the page has it, or -1 for true time. */
static long faked(void) {
    if (!page) return -1;
    struct slot now;
    unsigned char before, after;
    do {
        before = __atomic_load_n(page + SEQUENCE, __ATOMIC_ACQUIRE);
        const struct slot *slot = (const struct slot *)(page + SLOTS + (before & 1) * SLOT_SIZE);
        for (int field = 0; field < FIELDS; field++) ((long *)&now)[field] = load(slot, field);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        after = __atomic_load_n(page + SEQUENCE, __ATOMIC_RELAXED);
    } while (before != after);
    if (!now.valid_until) return -1;
    struct timespec mono;
    if (sys(CLOCK_GETTIME, MONOTONIC, (long)&mono, 0, 0, 0, 0)) return -1;
    long ns = mono.sec * 1000000000 + mono.nsec, elapsed = ns - now.base_mono;
    if (ns >= now.valid_until) return -1;
    /* In two parts, because their product would overflow after some hours. */
    long drift = elapsed / 1000000 * now.rate_ppm + elapsed % 1000000 * now.rate_ppm / 1000000;
    long wall = now.base_wall + now.offset + elapsed + drift;
    if (now.strobe_period > 0 && (ns - now.strobe_since) / now.strobe_period % 2 == 0) wall += now.strobe_by;
    return wall < 0 ? 0 : wall;
}

int clock_gettime(int clock, struct timespec *time) {
    long ns = clock == REALTIME || clock == REALTIME_COARSE ? faked() : -1;
    if (ns >= 0) {
        time->sec = ns / 1000000000;
        time->nsec = ns % 1000000000;
        return 0;
    }
    return result(sys(CLOCK_GETTIME, clock, (long)time, 0, 0, 0, 0));
}

int gettimeofday(struct timeval *time, void *zone) {
    struct timespec now;
    if (zone) *(long *)zone = 0;
    if (time) {
        clock_gettime(REALTIME, &now);
        time->sec = now.sec;
        time->usec = now.nsec / 1000;
    }
    return 0;
}

long time(long *seconds) {
    struct timespec now;
    clock_gettime(REALTIME, &now);
    if (seconds) *seconds = now.sec;
    return now.sec;
}
