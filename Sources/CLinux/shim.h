#include <sys/types.h>

/* In glibc, but only declared under _GNU_SOURCE, which Swift's Glibc module does without. */
extern int sync_file_range(int descriptor, __off64_t offset, __off64_t count, unsigned int flags);
#define VIK_SYNC_FILE_RANGE_WRITE 2u
