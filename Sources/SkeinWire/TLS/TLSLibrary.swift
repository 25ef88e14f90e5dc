// OpenSSL as a whole: it would tear itself down in `exit`, under threads that are still reading
// certificates or talking to Redis. Whoever uses it first says that it may stay.

internal import COpenSSL

package enum TLSLibrary {
    /// Must be asked for before anything else is done with OpenSSL.
    package static let isReady = OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_ATEXIT), nil) == 1
}
