#define _GNU_SOURCE
#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>

static SSL_CTX *context(void) {
    static SSL_CTX *shared;
    if (!shared) {
        shared = SSL_CTX_new(TLS_client_method());
        // Thousands of idle connections: their buffers are let go while nothing comes. A send may be
        // repeated from another address, since the engine's buffers grow.
        SSL_CTX_set_mode(shared, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    return shared;
}

static void setBlocking(int fd, int isBlocking) {
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, isBlocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

TLS *tlsConnect(int fd) {
    SSL *tls = SSL_new(context());
    if (!tls) return NULL;
    SSL_set_fd(tls, fd);
    setBlocking(fd, 1);
    int result = SSL_connect(tls);
    setBlocking(fd, 0);
    if (result == 1) return tls;
    SSL_free(tls);
    errno = ECONNABORTED;
    return NULL;
}

static ssize_t outcome(TLS *tls, int result) {
    if (result > 0) return result;
    switch (SSL_get_error(tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    default: errno = ECONNRESET; return -1;
    }
}

ssize_t tlsReceive(TLS *tls, void *bytes, size_t count) {
    return outcome(tls, SSL_read(tls, bytes, (int)count));
}

ssize_t tlsSend(TLS *tls, const void *bytes, size_t count) {
    return outcome(tls, SSL_write(tls, bytes, (int)count));
}

int tlsHasMore(const TLS *tls) { return SSL_pending(tls) > 0; }

void tlsFree(TLS *tls) { SSL_free(tls); }
