/* A Vulkan driver that does all the real one does, and one thing wrong.
 *
 * REAL_DRIVER  the library it stands in front of
 * FAULT        function:call:what   e.g. vkQueueSubmit:3:11 raises SIGSEGV in the third call
 *              what: a signal's number; or hang, family, orphan, flood, fill, exit
 * HAPPENED     a file that gets a byte each time
 * FAULT_ONCE   where it is set: not if that file is there already
 * `constructor` as function: the fault comes when the driver is loaded.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*Function)(void);
typedef Function (*Lookup)(void *, const char *);
typedef long (*Call)(long, long, long, long, long, long);

static void *real;
static Call forwarded;
static char function[64], what[16];
static int countdown;

static void sleep_forever(void)
{
    for (;;)
        pause();
}

static void go_wrong(void)
{
    static char line[4096];
    if (atoi(what) > 0) {
        signal(atoi(what), SIG_DFL);
        raise(atoi(what));
    } else if (strcmp(what, "hang") == 0) {
        sleep_forever();
    } else if (strcmp(what, "family") == 0) { /* hangs, as does a child that left the group */
        if (fork() == 0 && setsid())
            sleep_forever();
        sleep_forever();
    } else if (strcmp(what, "orphan") == 0) { /* dies, but not a child that init adopted */
        if (fork() == 0 && setsid()) {
            if (fork() == 0)
                sleep_forever();
            _exit(0);
        }
        abort();
    } else if (strcmp(what, "flood") == 0) {
        memset(line, 'x', sizeof line - 1);
        for (long megabytes = 0; megabytes < 96; megabytes++)
            for (int i = 0; i < 256; i++)
                fprintf(i % 2 ? stderr : stdout, "flood %ld %s\n", megabytes, line);
        fflush(stdout);
    } else if (strcmp(what, "fill") == 0) {
        for (;;) {
            char *block = malloc(1 << 20);
            if (block == NULL) {
                fprintf(stderr, "faulty driver: out of memory\n");
                abort();
            }
            memset(block, 1, 1 << 20);
        }
    } else {
        _exit(7);
    }
}

static void count(const char *called)
{
    int file = -1;
    if (strcmp(called, function) != 0 || --countdown != 0)
        return;
    file = open(getenv("HAPPENED"), O_CREAT | O_APPEND | O_WRONLY | (getenv("FAULT_ONCE") ? O_EXCL : 0), 0600);
    if (file < 0)
        return;
    if (write(file, ".", 1) == 1)
        go_wrong();
}

static long faulty(long a, long b, long c, long d, long e, long f)
{
    count(function);
    return forwarded(a, b, c, d, e, f);
}

static Function wrapped(const char *name, Function found)
{
    if (found == NULL || strcmp(name, function) != 0)
        return found;
    forwarded = (Call)found;
    return (Function)faulty;
}

static Lookup real_device_lookup;

static Function device_lookup(void *device, const char *name)
{
    return wrapped(name, real_device_lookup(device, name));
}

__attribute__((constructor)) static void start(void)
{
    real = dlopen(getenv("REAL_DRIVER"), RTLD_NOW | RTLD_LOCAL);
    if (sscanf(getenv("FAULT"), "%63[^:]:%d:%15s", function, &countdown, what) != 3 || real == NULL) {
        fprintf(stderr, "faulty driver: FAULT=%s REAL_DRIVER=%s\n", getenv("FAULT"), getenv("REAL_DRIVER"));
        _exit(3);
    }
    count("constructor");
}

int vk_icdNegotiateLoaderICDInterfaceVersion(unsigned *version)
{
    return ((int (*)(unsigned *))dlsym(real, "vk_icdNegotiateLoaderICDInterfaceVersion"))(version);
}

Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name)
{
    return ((Lookup)dlsym(real, "vk_icdGetPhysicalDeviceProcAddr"))(instance, name);
}

Function vk_icdGetInstanceProcAddr(void *instance, const char *name)
{
    Function found = ((Lookup)dlsym(real, "vk_icdGetInstanceProcAddr"))(instance, name);
    if (found == NULL || strcmp(name, "vkGetDeviceProcAddr") != 0)
        return wrapped(name, found);
    real_device_lookup = (Lookup)found;
    return (Function)device_lookup;
}
