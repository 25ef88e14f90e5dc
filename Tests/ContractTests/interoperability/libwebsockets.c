// The conversation of test_interoperability.py, held by libwebsockets:
//     libwebsockets HOST PORT PATH TOKEN CA-FILE|- deflate|plain
// Ends with status 0 when all went as it has to, else with a sentence on stderr.

#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE_MAX_BYTES = 65536 };

// One step of the conversation: a message in `fragments` frames, or a ping.
struct step {
    enum { TEXT, BINARY, PING } kind;
    size_t bytes;
    size_t fragments;
};

static const struct step plain[] = {
    {TEXT, 5, 1},     {TEXT, 5000, 1},   {BINARY, 256, 1},   {BINARY, 65536, 1}, {TEXT, 130, 3},
    {BINARY, 300, 4}, {BINARY, 65536, 3}, {PING, 14, 1},     {TEXT, 125, 1},     {TEXT, 126, 1},
};
// Where compression was agreed, libwebsockets 4.1 hands a short frame that came uncompressed, as
// every server may send it, to its callback twice: so no text too short to be compressed, and no ping.
static const struct step deflated[] = {
    {TEXT, 5000, 1},  {BINARY, 256, 1},   {BINARY, 65536, 1}, {TEXT, 3000, 3}, {BINARY, 300, 4},
    {TEXT, 65536, 1}, {BINARY, 65536, 3}, {TEXT, 700, 1},     {TEXT, 1000, 1}, {TEXT, 4096, 4},
};
enum { STEPS = sizeof plain / sizeof *plain, ROUNDS = 3 };
_Static_assert(STEPS == sizeof deflated / sizeof *deflated, "conversations of one length");
static const struct step *steps = plain;

static unsigned char wanted[SIZE_MAX_BYTES], got[SIZE_MAX_BYTES];
static unsigned char frame[LWS_PRE + SIZE_MAX_BYTES];
static size_t step, sent_fragments, got_bytes;
static int finished, failed;
static const char *token;

static int fail(const char *what) {
    fprintf(stderr, "%s, at step %zu\n", what, step);
    failed = finished = 1;
    return -1;
}

static void prepare(void) {
    const struct step *now = &steps[step % STEPS];
    for (size_t at = 0; at < now->bytes; at++)
        wanted[at] = now->kind == BINARY ? (at * at + step) & 255 : 'a' + (at * 7 + step) % 26;
    sent_fragments = got_bytes = 0;
}

static int send_fragment(struct lws *wsi) {
    const struct step *now = &steps[step % STEPS];
    size_t size = now->bytes / now->fragments, from = sent_fragments * size;
    int is_first = sent_fragments == 0, is_last = ++sent_fragments == now->fragments;
    if (is_last) size = now->bytes - from;
    int kind = now->kind == PING      ? LWS_WRITE_PING
               : !is_first            ? LWS_WRITE_CONTINUATION
               : now->kind == TEXT    ? LWS_WRITE_TEXT
                                      : LWS_WRITE_BINARY;
    if (!is_last) kind |= LWS_WRITE_NO_FIN;
    memcpy(frame + LWS_PRE, wanted + from, size);
    if (lws_write(wsi, frame + LWS_PRE, size, kind) < (int)size) return fail("could not write");
    if (!is_last) lws_callback_on_writable(wsi);
    return 0;
}

static int advance(struct lws *wsi) {
    const struct step *now = &steps[step % STEPS];
    if (got_bytes != now->bytes) return fail("the answer has another length");
    if (memcmp(wanted, got, got_bytes) != 0) return fail("the answer differs");
    step += 1;
    prepare();
    lws_callback_on_writable(wsi);
    return 0;
}

static int take(const void *in, size_t length) {
    if (got_bytes + length > sizeof got) return fail("the answer is too long");
    memcpy(got + got_bytes, in, length);
    got_bytes += length;
    return 0;
}

static int on_event(
    struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    (void)user;
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER: {
        unsigned char **at = in, *end = *at + length;
        char value[4096];
        int count = snprintf(value, sizeof value, "Bearer %s", token);
        return lws_add_http_header_by_token(
            wsi, WSI_TOKEN_HTTP_AUTHORIZATION, (unsigned char *)value, count, at, end);
    }
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        return fail(in ? in : "could not connect");
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        prepare();
        lws_callback_on_writable(wsi);
        return 0;
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        if (step == STEPS * ROUNDS) {
            lws_close_reason(wsi, LWS_CLOSE_STATUS_NORMAL, (unsigned char *)"done", 4);
            return -1;
        }
        // One fragment at a time, and nothing more until the answer is there.
        return sent_fragments < steps[step % STEPS].fragments ? send_fragment(wsi) : 0;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        if (lws_frame_is_binary(wsi) != (steps[step % STEPS].kind == BINARY))
            return fail("the answer has another type");
        if (take(in, length) != 0) return -1;
        if (lws_remaining_packet_payload(wsi) || !lws_is_final_fragment(wsi)) return 0;
        return advance(wsi);
    case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
        return take(in, length) != 0 ? -1 : advance(wsi);
    case LWS_CALLBACK_CLIENT_CLOSED:
        if (step != STEPS * ROUNDS) return fail("closed too early");
        finished = 1;
        return 0;
    default:
        return 0;
    }
}

int main(int count, char **arguments) {
    if (count != 7) return fail("arguments: HOST PORT PATH TOKEN CA-FILE|- deflate|plain"), 1;
    token = arguments[4];
    int secure = strcmp(arguments[5], "-") != 0;
    static const struct lws_protocols protocols[] = {
        {"conversation", on_event, 0, SIZE_MAX_BYTES, 0, NULL, 0}, {NULL, NULL, 0, 0, 0, NULL, 0}};
    static const struct lws_extension extensions[] = {
        {"permessage-deflate", lws_extension_callback_pm_deflate,
         "permessage-deflate; client_no_context_takeover; client_max_window_bits"},
        {NULL, NULL, NULL}};
    lws_set_log_level(LLL_ERR, NULL);

    struct lws_context_creation_info settings = {0};
    settings.port = CONTEXT_PORT_NO_LISTEN;
    settings.protocols = protocols;
    settings.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    if (strcmp(arguments[6], "deflate") == 0) {
        settings.extensions = extensions;
        steps = deflated;
    }
    if (secure) settings.client_ssl_ca_filepath = arguments[5];
    struct lws_context *context = lws_create_context(&settings);
    if (!context) return fail("no context"), 1;

    struct lws_client_connect_info target = {0};
    target.context = context;
    target.address = arguments[1];
    target.port = atoi(arguments[2]);
    target.path = arguments[3];
    target.host = arguments[1];
    target.local_protocol_name = protocols[0].name;
    target.ssl_connection = secure ? LCCSCF_USE_SSL : 0;
    if (!lws_client_connect_via_info(&target)) return fail("could not begin to connect"), 1;
    while (!finished && lws_service(context, 0) >= 0) continue;
    lws_context_destroy(context);
    return failed || !finished;
}
