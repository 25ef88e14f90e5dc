// An independent load client for WebSocket servers: one thread, one epoll loop, and every message
// is accounted for. It shares no code with the server that it measures.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "run.h"

static void outOfTime(int signal) {
    (void)signal;
    static const char text[] =
        "load: out of time; raise --timeout if the run is meant to be long\n";
    if (write(2, text, sizeof text - 1) < 0) _exit(3);
    _exit(3);
}

static void raiseDescriptorLimit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void pin(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) perror("load: --core");
}

int main(int argumentCount, char **arguments) {
    Options options = optionsParse(argumentCount, arguments);
    if (options.core >= 0) pin(options.core);
    raiseDescriptorLimit();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, outOfTime);
    alarm((unsigned)(options.timeoutSeconds + 1));

    static const struct {
        const char *name;
        int (*run)(const Options *options);
    } modes[] = {{"echo", runEcho}, {"fanout", runFanout}, {"pair", runPair}, {"hold", runHold},
                 {"connect", runConnect}};
    for (size_t index = 0; index < sizeof modes / sizeof modes[0]; index++)
        if (strcmp(options.mode, modes[index].name) == 0) return modes[index].run(&options);
    fprintf(stderr, "load: no mode %s; there are echo, fanout, pair, hold and connect\n",
            options.mode);
    return 2;
}
