/* Loaded into a node with LD_PRELOAD: while the file named by VIK_SLOW_DISK exists, fdatasync takes two seconds more; if
   anything is written in it, fdatasync does not return before the file is gone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int (*system_fdatasync)(int);

__attribute__((constructor)) static void find(void) {
    system_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
}

static void pause_for(struct timespec rest) {
    while (nanosleep(&rest, &rest) != 0) continue;
}

int fdatasync(int descriptor) {
    const char *path = getenv("VIK_SLOW_DISK");
    struct stat file;
    if (path != NULL && stat(path, &file) == 0) {
        if (file.st_size == 0) pause_for((struct timespec){.tv_sec = 2});
        while (stat(path, &file) == 0 && file.st_size > 0) pause_for((struct timespec){.tv_nsec = 10000000});
    }
    return system_fdatasync(descriptor);
}
