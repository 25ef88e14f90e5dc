#define _GNU_SOURCE
#include "usage.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

// The scheduler's own account of a process, in nanoseconds; /proc/P/stat has ticks of 10 ms.
static double processSeconds(int process) {
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void addUserAndSystem(int process, double *user, double *system) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    FILE *file = fopen(path, "r");
    if (!file) return;
    if (fgets(line, sizeof line, file)) {
        // The command's name may hold spaces and parentheses: the fields start after the last one.
        char *fields = strrchr(line, ')');
        unsigned long userTicks, systemTicks;
        if (fields && sscanf(fields + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                             &userTicks, &systemTicks) == 2) {
            double perSecond = (double)sysconf(_SC_CLK_TCK);
            *user += (double)userTicks / perSecond;
            *system += (double)systemTicks / perSecond;
        }
    }
    fclose(file);
}

static int findSoftirqThread(int core) {
    char wanted[32], path[300], name[64];
    snprintf(wanted, sizeof wanted, "ksoftirqd/%d\n", core);
    DIR *directory = opendir("/proc");
    if (!directory) return 0;
    int found = 0;
    struct dirent *entry;
    while (!found && (entry = readdir(directory))) {
        int process = atoi(entry->d_name);
        if (process <= 0) continue;
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        if (fgets(name, sizeof name, file) && strcmp(name, wanted) == 0) found = process;
        fclose(file);
    }
    closedir(directory);
    return found;
}

static void readMachine(Usage *usage) {
    FILE *file = fopen("/proc/stat", "r");
    if (!file) return;
    unsigned long long user, nice, system, idle, wait, irq, softirq, steal;
    if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
               &wait, &irq, &softirq, &steal) == 8) {
        double perSecond = (double)sysconf(_SC_CLK_TCK);
        usage->busySeconds = (double)(user + nice + system + irq + softirq) / perSecond;
        usage->stolenSeconds = (double)steal / perSecond;
    }
    fclose(file);
}

Usage usageNow(const Options *options) {
    static int softirqThread = -1;
    if (softirqThread < 0)
        softirqThread = options->softirqCore >= 0 ? findSoftirqThread(options->softirqCore) : 0;

    Usage usage = {.nanoseconds = nowNanoseconds()};
    usage.clientSeconds = processSeconds(getpid());
    for (uint32_t index = 0; index < options->processCount; index++) {
        usage.serverSeconds += processSeconds(options->processes[index]);
        addUserAndSystem(options->processes[index], &usage.serverUserSeconds,
                         &usage.serverSystemSeconds);
    }
    if (softirqThread) usage.softirqSeconds = processSeconds(softirqThread);
    readMachine(&usage);
    return usage;
}

Usage usageBetween(const Usage *before, const Usage *after) {
    return (Usage){
        .nanoseconds = after->nanoseconds - before->nanoseconds,
        .clientSeconds = after->clientSeconds - before->clientSeconds,
        .serverSeconds = after->serverSeconds - before->serverSeconds,
        .serverUserSeconds = after->serverUserSeconds - before->serverUserSeconds,
        .serverSystemSeconds = after->serverSystemSeconds - before->serverSystemSeconds,
        .softirqSeconds = after->softirqSeconds - before->softirqSeconds,
        .busySeconds = after->busySeconds - before->busySeconds,
        .stolenSeconds = after->stolenSeconds - before->stolenSeconds,
    };
}

static void addLines(const char *path, const char *name, uint64_t *bytes) {
    FILE *file = fopen(path, "r");
    if (!file) return;
    char line[256];
    size_t nameBytes = strlen(name);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, name, nameBytes) == 0) {
            *bytes += strtoull(line + nameBytes, NULL, 10) * 1024;
            break;
        }
    }
    fclose(file);
}

Memory memoryNow(const Options *options) {
    Memory memory = {0};
    char path[64];
    for (uint32_t index = 0; index < options->processCount; index++) {
        snprintf(path, sizeof path, "/proc/%d/status", options->processes[index]);
        addLines(path, "VmRSS:", &memory.rssBytes);
        addLines(path, "RssAnon:", &memory.anonymousBytes);
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", options->processes[index]);
        addLines(path, "Pss:", &memory.pssBytes);
    }
    return memory;
}
