/* Notes how much of each file has reached the disk, for one process: preload it (LD_PRELOAD) where a table is.
 *
 * A kill alone takes nothing that was written: the kernel has it. A machine that loses power loses what no fsync had
 * covered. So every successful fsync and fdatasync leaves here how long its file was when the call began, and who plays a
 * power loss (docker/redis.sh) cuts the files back to that. It is the worst that may happen: a real kernel may have
 * written more.
 *
 * - The table is a file that all processes of the container map, children included: 128 entries of four numbers each,
 *   inode, birth (ns; inodes are used again), length, forgotten. An entry with inode 0 is free.
 * - A full table forgets what it took in first: Redis writes its append-only files anew now and then, and each run starts
 *   with new ones, so the oldest of 128 files is long gone. The first entry's fourth number counts what was forgotten.
 * - No lock, no allocation, no libc, as in clockshim.c. Without a table nothing is noted: too much is lost then, never too
 *   little. */

#define TABLE_PATH "/data/synced"
#define ENTRIES 128

#include "sys.h"

struct entry { unsigned long inode; long birth, length; unsigned long forgotten; };
/* The kernel's struct statx, as far as it matters here. */
struct times { long seconds; unsigned nanoseconds; int pad; };
struct status { char head[32]; unsigned long inode; long length; char middle[32]; struct times birth; char tail[160]; };
enum { AT_EMPTY_PATH = 0x1000, BASIC_STATS_AND_BIRTH = 0xfff };

static struct entry *table;

__attribute__((constructor)) static void map_table(void) {
    table = map_file(TABLE_PATH, O_RDWR_CLOEXEC, PROT_READ | PROT_WRITE, ENTRIES * sizeof(struct entry));
}

static void note(unsigned long inode, long birth, long length) {
    for (int at = 0; at < ENTRIES; at++) {
        struct entry *entry = table + at;
        unsigned long is = __atomic_load_n(&entry->inode, __ATOMIC_ACQUIRE), free = 0;
        if (!is && __atomic_compare_exchange_n(&entry->inode, &free, inode, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            is = inode;
        }
        if ((is ? is : free) != inode) continue;
        if (__atomic_load_n(&entry->birth, __ATOMIC_ACQUIRE) != birth) {
            /* A new file under an old number: nothing of it has been synced. */
            __atomic_store_n(&entry->length, 0, __ATOMIC_RELEASE);
            __atomic_store_n(&entry->birth, birth, __ATOMIC_RELEASE);
        }
        /* Two threads may sync one file at a time: what one of them has covered stays covered. */
        long old = __atomic_load_n(&entry->length, __ATOMIC_RELAXED);
        while (old < length &&
               !__atomic_compare_exchange_n(&entry->length, &old, length, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {}
        return;
    }
    struct entry *oldest = table + __atomic_fetch_add(&table->forgotten, 1, __ATOMIC_RELAXED) % ENTRIES;
    __atomic_store_n(&oldest->length, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&oldest->birth, birth, __ATOMIC_RELEASE);
    __atomic_store_n(&oldest->inode, inode, __ATOMIC_RELEASE);
    __atomic_store_n(&oldest->length, length, __ATOMIC_RELEASE);
}

static int sync_and_note(int call, int fd) {
    struct status before;
    long known = table ? sys(STATX, fd, (long)"", AT_EMPTY_PATH, BASIC_STATS_AND_BIRTH, (long)&before, 0) : -1;
    long returned = sys(call, fd, 0, 0, 0, 0, 0);
    if (!known && !returned) {
        note(before.inode, before.birth.seconds * 1000000000 + before.birth.nanoseconds, before.length);
    }
    return result(returned);
}

int fsync(int fd) { return sync_and_note(FSYNC, fd); }

int fdatasync(int fd) { return sync_and_note(FDATASYNC, fd); }
