#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "load MODE --url ws[s]://HOST:PORT/PATH [options]      MODE: echo fanout pair hold connect\n"
    "\n"
    "connections\n"
    "  --url URL               repeat it to spread connections over several servers;\n"
    "                          {index} in the path stands for the connection's number,\n"
    "                          {partner} for the number of the one it sends to (index ^ 1)\n"
    "  --conns N               connections (subscribers in fanout)                        [64]\n"
    "  --connect-rate R        connects per second; 0: as fast as they complete            [0]\n"
    "  --connect-concurrency N handshakes under way at once                              [128]\n"
    "  --sources N             connect from N loopback addresses (27,000 sockets each)     [1]\n"
    "  --await TYPE            a connection is ready after a first frame of this type\n"
    "  --nats-subscribe S, --nats-publish S   speak NATS on these subjects; {index}, {partner}\n"
    "users\n"
    "  --tokens FILE           a line per user: user token\n"
    "  --secret S              mint HS256 tokens with it\n"
    "  --token-ttl N           seconds until the minted tokens expire                   [3600]\n"
    "  --user-prefix P         users are P0, P1, ...                                       [u]\n"
    "  --auth KIND             query, header or subprotocol                            [query]\n"
    "traffic\n"
    "  --message M             pair and hold: typing, chat, floor, or a template with %to%\n"
    "                          %partner% (or %index%: whom it is for) %marker% %flag% %pad%;\n"
    "                          echo and fanout: plain, relay\n"
    "                          or a template with %marker% %pad%\n"
    "  --payload N             bytes of one message, padded with %pad%                   [128]\n"
    "  --depth N               in flight: per connection; in fanout in all                 [1]\n"
    "  --rate R                open loop at R messages per second in all      [0: closed loop]\n"
    "  --seconds S             measure for S seconds                                       [5]\n"
    "  --warmup S              and run for S seconds before that                         [0.5]\n"
    "  --messages N            stop after N messages, if that is sooner (then no warm-up)\n"
    "  --idle S                let the connections rest S seconds before memory is read  [0.3]\n"
    "  --grace S               wait S seconds for what is missing                          [5]\n"
    "  --timeout S             give up after S seconds in all          [sum of the others + 60]\n"
    "  --spin                  poll without sleeping between due times\n"
    "publisher of fanout\n"
    "  --redis HOST:PORT       PUBLISH over a Redis connection\n"
    "  --channel C             to this channel                           [websocket:broadcast]\n"
    "  --publish-url URL       or send on a WebSocket connection to this URL\n"
    "connect, hold\n"
    "  --close-frame           close with a close frame, not with a reset\n"
    "  --expect-close          hold: after the traffic, wait for the server to close all\n"
    "  --resume                hold: reconnect as the 1012 hint says, to the next --url, resume\n"
    "measuring\n"
    "  --core N                pin this client\n"
    "  --pid P[,P2]            the server's processes, whose CPU and memory are measured\n"
    "  --ksoftirqd N           count ksoftirqd/N as the server's\n"
    "  --label TEXT            printed with the result\n"
    "  --json                  one JSON object instead of a table\n"
    "\n"
    "exit: 0 all right, 1 something was lost, duplicated, out of order or refused,\n"
    "      2 wrong usage, 3 no connection or out of time\n";

static void fail(const char *what, const char *value) {
    fprintf(stderr, "load: %s%s%s; load --help lists the options\n", what, value ? ": " : "",
            value ? value : "");
    exit(2);
}

static Target parseTarget(const char *url) {
    Target target = {.port = 80};
    const char *rest = url;
    target.isTLS = strncmp(rest, "wss://", 6) == 0;
    if (target.isTLS) target.port = 443;
    if (target.isTLS) rest += 6;
    else if (strncmp(rest, "ws://", 5) == 0) rest += 5;
    else if (strstr(rest, "://")) fail("only ws:// and wss:// are spoken", url);
    size_t hostBytes = strcspn(rest, ":/");
    if (hostBytes == 0 || hostBytes >= sizeof target.host) fail("no host in the URL", url);
    memcpy(target.host, rest, hostBytes);
    rest += hostBytes;
    if (*rest == ':') target.port = (uint16_t)strtoul(rest + 1, (char **)&rest, 10);
    snprintf(target.path, sizeof target.path, "%s", *rest ? rest : "/");
    if (strcmp(target.host, "localhost") == 0) strcpy(target.host, "127.0.0.1");
    return target;
}

size_t targetExpand(const char *template, uint32_t index, char *text, size_t capacity) {
    const char *mark = strchr(template, '{');
    bool isPartner = mark && strncmp(mark, "{partner}", 9) == 0;
    bool isIndex = mark && strncmp(mark, "{index}", 7) == 0;
    if (!isPartner && !isIndex) return (size_t)snprintf(text, capacity, "%s", template);
    size_t count = (size_t)snprintf(text, capacity, "%.*s%u", (int)(mark - template), template,
                                    isPartner ? index ^ 1 : index);
    return count + targetExpand(mark + (isPartner ? 9 : 7), index, text + count, capacity - count);
}

static void parseRedis(Options *options, const char *address) {
    Target target = parseTarget(address);
    strcpy(options->redisHost, target.host);
    options->redisPort = target.port == 80 ? 6379 : target.port;
}

static void parseProcesses(Options *options, char *list) {
    for (char *item = strtok(list, ","); item; item = strtok(NULL, ",")) {
        if (options->processCount == processCountMax) fail("too many processes", item);
        options->processes[options->processCount++] = atoi(item);
    }
}

static AuthKind parseAuth(const char *kind) {
    if (strcmp(kind, "query") == 0) return authQuery;
    if (strcmp(kind, "header") == 0) return authHeader;
    if (strcmp(kind, "subprotocol") == 0) return authSubprotocol;
    fail("--auth is query, header or subprotocol, not", kind);
    return authNone;
}

enum {
    optionURL = 256, optionConnections, optionConnectRate, optionConnectConcurrency, optionSources,
    optionAwait, optionTokens, optionSecret, optionTokenTTL, optionUserPrefix, optionAuth,
    optionMessage, optionPayload, optionDepth, optionRate, optionSeconds, optionWarmup,
    optionMessages, optionIdle, optionGrace, optionTimeout, optionSpin, optionRedis, optionChannel,
    optionPublishURL, optionCloseFrame, optionExpectClose, optionResume, optionCore, optionPid,
    optionNATSSubscribe, optionNATSPublish, optionSoftirq, optionLabel, optionJSON, optionHelp,
};

static const struct option table[] = {
    {"url", required_argument, 0, optionURL},
    {"conns", required_argument, 0, optionConnections},
    {"connect-rate", required_argument, 0, optionConnectRate},
    {"connect-concurrency", required_argument, 0, optionConnectConcurrency},
    {"sources", required_argument, 0, optionSources},
    {"await", required_argument, 0, optionAwait},
    {"nats-subscribe", required_argument, 0, optionNATSSubscribe},
    {"nats-publish", required_argument, 0, optionNATSPublish},
    {"tokens", required_argument, 0, optionTokens},
    {"secret", required_argument, 0, optionSecret},
    {"token-ttl", required_argument, 0, optionTokenTTL},
    {"user-prefix", required_argument, 0, optionUserPrefix},
    {"auth", required_argument, 0, optionAuth},
    {"message", required_argument, 0, optionMessage},
    {"payload", required_argument, 0, optionPayload},
    {"depth", required_argument, 0, optionDepth},
    {"rate", required_argument, 0, optionRate},
    {"seconds", required_argument, 0, optionSeconds},
    {"warmup", required_argument, 0, optionWarmup},
    {"messages", required_argument, 0, optionMessages},
    {"idle", required_argument, 0, optionIdle},
    {"grace", required_argument, 0, optionGrace},
    {"timeout", required_argument, 0, optionTimeout},
    {"spin", no_argument, 0, optionSpin},
    {"redis", required_argument, 0, optionRedis},
    {"channel", required_argument, 0, optionChannel},
    {"publish-url", required_argument, 0, optionPublishURL},
    {"close-frame", no_argument, 0, optionCloseFrame},
    {"expect-close", no_argument, 0, optionExpectClose},
    {"resume", no_argument, 0, optionResume},
    {"core", required_argument, 0, optionCore},
    {"pid", required_argument, 0, optionPid},
    {"ksoftirqd", required_argument, 0, optionSoftirq},
    {"label", required_argument, 0, optionLabel},
    {"json", no_argument, 0, optionJSON},
    {"help", no_argument, 0, optionHelp},
    {0},
};

static void apply(Options *options, int option, char *value) {
    switch (option) {
    case optionURL:
        if (options->targetCount == targetCountMax) fail("too many URLs", value);
        options->targets[options->targetCount++] = parseTarget(value);
        break;
    case optionConnections: options->connectionCount = (uint32_t)strtoul(value, NULL, 10); break;
    case optionConnectRate: options->connectRate = atof(value); break;
    case optionConnectConcurrency:
        options->connectConcurrency = (uint32_t)strtoul(value, NULL, 10);
        break;
    case optionSources: options->sourceCount = (uint32_t)strtoul(value, NULL, 10); break;
    case optionAwait: options->await = value; break;
    case optionNATSSubscribe: options->natsSubscribe = value; break;
    case optionNATSPublish: options->natsPublish = value; break;
    case optionTokens: options->tokensFile = value; break;
    case optionSecret: options->secret = value; break;
    case optionTokenTTL: options->tokenTTLSeconds = (uint32_t)strtoul(value, NULL, 10); break;
    case optionUserPrefix: options->userPrefix = value; break;
    case optionAuth: options->auth = parseAuth(value); break;
    case optionMessage: options->message = value; break;
    case optionPayload: options->payloadBytes = (uint32_t)strtoul(value, NULL, 10); break;
    case optionDepth: options->depth = (uint32_t)strtoul(value, NULL, 10); break;
    case optionRate: options->rate = atof(value); break;
    case optionSeconds: options->seconds = atof(value); break;
    case optionWarmup: options->warmupSeconds = atof(value); break;
    case optionMessages: options->messageCount = strtoull(value, NULL, 10); break;
    case optionIdle: options->idleSeconds = atof(value); break;
    case optionGrace: options->graceSeconds = atof(value); break;
    case optionTimeout: options->timeoutSeconds = atof(value); break;
    case optionSpin: options->spin = true; break;
    case optionRedis: parseRedis(options, value); break;
    case optionChannel: options->redisChannel = value; break;
    case optionPublishURL:
        options->publisher = parseTarget(value);
        options->hasPublisher = true;
        break;
    case optionCloseFrame: options->closeByFrame = true; break;
    case optionExpectClose: options->expectClose = true; break;
    case optionResume: options->resume = true; break;
    case optionCore: options->core = atoi(value); break;
    case optionPid: parseProcesses(options, value); break;
    case optionSoftirq: options->softirqCore = atoi(value); break;
    case optionLabel: options->label = value; break;
    case optionJSON: options->json = true; break;
    case optionHelp: fputs(usage, stdout); exit(0);
    default: exit(2);
    }
}

static void check(Options *options) {
    if (options->targetCount == 0) fail("--url is missing", NULL);
    if (!options->natsSubscribe != !options->natsPublish)
        fail("--nats-subscribe and --nats-publish go together", NULL);
    if (options->connectionCount == 0) fail("--conns must be at least 1", NULL);
    if (options->depth == 0 || options->depth > 4096) fail("--depth is 1 to 4096", NULL);
    if (options->payloadBytes > 60000) fail("--payload is at most 60000", NULL);
    if (options->sourceCount == 0 || options->sourceCount > 200)
        fail("--sources is 1 to 200", NULL);
    if (options->connectConcurrency == 0) fail("--connect-concurrency must be at least 1", NULL);
    if (options->seconds <= 0 || options->seconds > 3600)
        fail("--seconds is above 0, to 3600", NULL);
    if (options->auth == authNone && (options->secret || options->tokensFile))
        options->auth = authQuery;
    // A counted run is measured from its first message on.
    if (options->warmupSeconds < 0) options->warmupSeconds = options->messageCount ? 0 : 0.5;
    if (options->timeoutSeconds == 0) {
        double connecting =
            options->connectRate > 0 ? options->connectionCount / options->connectRate : 0;
        options->timeoutSeconds = connecting + options->idleSeconds + options->warmupSeconds +
                                  options->seconds + options->graceSeconds + 60;
    }
}

Options optionsParse(int argumentCount, char **arguments) {
    Options options = {
        .connectionCount = 64, .connectConcurrency = 128, .sourceCount = 1, .userPrefix = "u",
        .tokenTTLSeconds = 3600, .payloadBytes = 128, .depth = 1, .seconds = 5,
        .warmupSeconds = -1, .graceSeconds = 5, .idleSeconds = 0.3,
        .redisChannel = "websocket:broadcast", .core = -1, .softirqCore = -1,
    };
    bool isEmpty = argumentCount < 2;
    if (isEmpty || strcmp(arguments[1], "--help") == 0 || strcmp(arguments[1], "-h") == 0) {
        fputs(usage, isEmpty ? stderr : stdout);
        exit(isEmpty ? 2 : 0);
    }
    options.mode = arguments[1];
    int option;
    while ((option = getopt_long(argumentCount - 1, arguments + 1, "", table, NULL)) != -1)
        apply(&options, option, optarg);
    if (optind < argumentCount - 1) fail("not an option", arguments[1 + optind]);
    check(&options);
    return options;
}
