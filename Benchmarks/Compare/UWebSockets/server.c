// uWebSockets doing the work of the floor servers: `server [CERTIFICATE KEY]`, on any free port of 127.0.0.1.
//
// It is not in Debian. The library comes from the PyPI package `socketify`, which carries uWebSockets 20
// with its C interface, built on libuv as uWebSockets.js is. Only what is called is declared here.
//   /echo         gets its own messages back
//   /fanout       gets what publishers send
//   /publish      is a publisher
//   /pair?id=N    gets the messages that start with ">N "
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct App App;
typedef struct WebSocket WebSocket;
typedef struct Response Response;
typedef struct Request Request;
typedef struct Context Context;
typedef struct ListenSocket ListenSocket;
typedef enum { opcodeText = 1 } Opcode;

typedef struct {
    const char *key, *certificate, *passphrase, *dhParameters, *authorities, *ciphers;
    int prefersLowMemory;
} SocketOptions;

typedef struct {
    int port;
    const char *host;
    int options;
} ListenOptions;

typedef struct {
    int compression;
    unsigned int payloadBytesMax;
    unsigned short idleSeconds;
    unsigned int backpressureBytesMax;
    bool closesOnBackpressure, sendRenewsIdle, sendsPings;
    unsigned short lifetimeMinutes;
    void (*upgrade)(Response *, Request *, Context *, void *);
    void (*open)(WebSocket *, void *);
    void (*message)(WebSocket *, const char *, size_t, Opcode, void *);
    void (*drain)(WebSocket *, void *);
    void (*ping)(WebSocket *, const char *, size_t, void *);
    void (*pong)(WebSocket *, const char *, size_t, void *);
    void (*close)(WebSocket *, int, const char *, size_t, void *);
    void (*subscription)(WebSocket *, const char *, size_t, int, int, void *);
} Behaviour;

App *uws_create_app(int tls, SocketOptions options);
void uws_ws(int tls, App *app, const char *pattern, Behaviour behaviour, void *context);
void uws_app_listen_with_config(int tls, App *app, ListenOptions options,
                                void (*listening)(ListenSocket *, ListenOptions, void *), void *context);
void uws_app_run(int tls, App *app);
bool uws_publish(int tls, App *app, const char *topic, size_t topicBytes, const char *message, size_t length,
                 Opcode opcode, bool compress);
int uws_ws_send(int tls, WebSocket *socket, const char *message, size_t length, Opcode opcode);
bool uws_ws_subscribe(int tls, WebSocket *socket, const char *topic, size_t topicBytes);
void *uws_ws_get_user_data(int tls, WebSocket *socket);
size_t uws_req_get_header(Request *request, const char *name, size_t nameBytes, const char **value);
size_t uws_req_get_query(Request *request, const char *key, size_t keyBytes, const char **value);
void uws_res_upgrade(int tls, Response *response, void *data, const char *key, size_t keyBytes,
                     const char *protocol, size_t protocolBytes, const char *extensions,
                     size_t extensionsBytes, Context *context);
int us_socket_local_port(int tls, ListenSocket *socket);

#define idCountMax (1u << 20)
#define topic "all", 3

static App *app;
static int tls;
static WebSocket *byID[idCountMax];

static void echo(WebSocket *socket, const char *message, size_t length, Opcode opcode, void *context) {
    (void)context;
    uws_ws_send(tls, socket, message, length, opcode);
}

static void subscribe(WebSocket *socket, void *context) {
    (void)context;
    uws_ws_subscribe(tls, socket, topic);
}

static void publish(WebSocket *socket, const char *message, size_t length, Opcode opcode, void *context) {
    (void)socket, (void)context;
    uws_publish(tls, app, topic, message, length, opcode, false);
}

// The user's ID is the socket's data.
static void upgradeUser(Response *response, Request *request, Context *context, void *unused) {
    (void)unused;
    const char *id, *key, *protocol, *extensions;
    char digits[16] = "";
    size_t idBytes = uws_req_get_query(request, "id", 2, &id);
    memcpy(digits, id, idBytes < sizeof digits ? idBytes : sizeof digits - 1);
    uintptr_t user = strtoul(digits, NULL, 10) % idCountMax;
    size_t keyBytes = uws_req_get_header(request, "sec-websocket-key", 17, &key);
    size_t protocolBytes = uws_req_get_header(request, "sec-websocket-protocol", 22, &protocol);
    size_t extensionsBytes = uws_req_get_header(request, "sec-websocket-extensions", 24, &extensions);
    uws_res_upgrade(tls, response, (void *)user, key, keyBytes, protocol, protocolBytes, extensions,
                    extensionsBytes, context);
}

static uintptr_t idOf(WebSocket *socket) {
    return (uintptr_t)uws_ws_get_user_data(tls, socket);
}

static void openUser(WebSocket *socket, void *context) {
    (void)context;
    byID[idOf(socket)] = socket;
}

static void closeUser(WebSocket *socket, int code, const char *reason, size_t length, void *context) {
    (void)code, (void)reason, (void)length, (void)context;
    if (byID[idOf(socket)] == socket) byID[idOf(socket)] = NULL;
}

static void sendToUser(WebSocket *socket, const char *message, size_t length, Opcode opcode, void *context) {
    (void)socket, (void)context;
    uint32_t id = 0;
    if (length == 0 || message[0] != '>') return;
    for (size_t index = 1; index < length && message[index] >= '0' && message[index] <= '9'; index++)
        id = id * 10 + (uint32_t)(message[index] - '0');
    if (id < idCountMax && byID[id]) uws_ws_send(tls, byID[id], message, length, opcode);
}

static void listening(ListenSocket *socket, ListenOptions options, void *context) {
    (void)options, (void)context;
    if (!socket) {
        fprintf(stderr, "uWebSockets does not listen on 127.0.0.1\n");
        exit(1);
    }
    printf("%s://127.0.0.1:%d\n", tls ? "wss" : "ws", us_socket_local_port(tls, socket));
    fflush(stdout);
}

int main(int argumentCount, char **arguments) {
    // As its documentation has it, but for the longest message and how much may wait for a slow reader.
    Behaviour common = {.payloadBytesMax = 65536, .idleSeconds = 120, .backpressureBytesMax = 1 << 20,
                        .sendsPings = true};
    Behaviour echoes = common, subscribers = common, publishers = common, users = common;
    echoes.message = echo;
    subscribers.open = subscribe;
    publishers.message = publish;
    users.upgrade = upgradeUser;
    users.open = openUser;
    users.message = sendToUser;
    users.close = closeUser;

    SocketOptions options = {.prefersLowMemory = 1};
    tls = argumentCount == 3;
    if (tls) options.certificate = arguments[1], options.key = arguments[2];
    app = uws_create_app(tls, options);
    uws_ws(tls, app, "/echo", echoes, NULL);
    uws_ws(tls, app, "/fanout", subscribers, NULL);
    uws_ws(tls, app, "/publish", publishers, NULL);
    uws_ws(tls, app, "/pair", users, NULL);
    uws_app_listen_with_config(tls, app, (ListenOptions){.host = "127.0.0.1"}, listening, NULL);
    uws_app_run(tls, app);
    return 1;
}
