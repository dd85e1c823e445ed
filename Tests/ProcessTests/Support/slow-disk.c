/* Loaded into a node with LD_PRELOAD: while the file named by VIK_SLOW_DISK exists, fdatasync takes two seconds more. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int (*system_fdatasync)(int);

__attribute__((constructor)) static void find(void) {
    system_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
}

int fdatasync(int descriptor) {
    const char *path = getenv("VIK_SLOW_DISK");
    if (path != NULL && access(path, F_OK) == 0) {
        struct timespec rest = {.tv_sec = 2};
        while (nanosleep(&rest, &rest) != 0) continue;
    }
    return system_fdatasync(descriptor);
}
