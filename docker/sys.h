/* System calls without a library: what is preloaded into a server must not depend on the functions that it replaces, nor
 * on anything that is not set up yet when it is first called. */

#if defined(__x86_64__)
enum {
    CLOSE = 3, LSEEK = 8, MMAP = 9, FSYNC = 74, FDATASYNC = 75, CLOCK_GETTIME = 228, OPENAT = 257, STATX = 332
};
static long sys(long n, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "+a"(n) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return n;
}
#elif defined(__aarch64__)
enum {
    OPENAT = 56, CLOSE = 57, LSEEK = 62, FSYNC = 82, FDATASYNC = 83, CLOCK_GETTIME = 113, MMAP = 222, STATX = 291
};
static long sys(long n, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
#else
#error "no system calls written down for this machine"
#endif

enum { AT_FDCWD = -100, SEEK_END = 2, PROT_READ = 1, PROT_WRITE = 2, MAP_SHARED = 1 };
enum { O_RDONLY_CLOEXEC = 02000000, O_RDWR_CLOEXEC = 02000002 };

/* Absent where no C library is loaded. */
extern int *__errno_location(void) __attribute__((weak));

/* A system call's result as a library function would give it. */
static int result(long returned) {
    if (returned >= 0) return (int)returned;
    if (__errno_location) *__errno_location() = (int)-returned;
    return -1;
}

/* Maps the first `size` bytes of a file, or gives nothing if it is missing or too short. */
static void *map_file(const char *path, int flags, int protection, long size) {
    void *mapped = 0;
    long fd = sys(OPENAT, AT_FDCWD, (long)path, flags, 0, 0, 0);
    if (fd < 0) return 0;
    if (sys(LSEEK, fd, 0, SEEK_END, 0, 0, 0) >= size) {
        long at = sys(MMAP, 0, size, protection, MAP_SHARED, fd, 0);
        if (at > 0 || at < -4095) mapped = (void *)at;
    }
    sys(CLOSE, fd, 0, 0, 0, 0, 0);
    return mapped;
}
