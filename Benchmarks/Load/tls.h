// The client's side of TLS, for `wss://`: enough to hold many connections and to talk on some. The
// handshake blocks the client, one connection at a time, and the certificate is not verified: what is
// measured is the server.
#pragma once

#include <stddef.h>
#include <sys/types.h>

typedef struct ssl_st TLS;

/// Takes the socket through connecting and the handshake; NULL when that failed.
TLS *tlsConnect(int fd);
/// As recv() and send() do it, EAGAIN and all.
ssize_t tlsReceive(TLS *tls, void *bytes, size_t count);
ssize_t tlsSend(TLS *tls, const void *bytes, size_t count);
/// Whether more has been decrypted than was taken: the socket will not say so.
int tlsHasMore(const TLS *tls);
void tlsFree(TLS *tls);
