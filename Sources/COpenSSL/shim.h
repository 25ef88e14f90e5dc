#pragma once
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

// What OpenSSL offers only as macros with arguments, which Swift does not see.

static inline void skein_SSL_CTX_set_mode(SSL_CTX *context, long mode) {
    SSL_CTX_set_mode(context, mode);
}

static inline void skein_SSL_CTX_set_common_options(SSL_CTX *context) {
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
}

static inline void skein_SSL_CTX_set_server_options(SSL_CTX *context) {
    SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
}

static inline void skein_SSL_CTX_set_read_ahead_off(SSL_CTX *context) {
    SSL_CTX_set_read_ahead(context, 0);
}

static inline int skein_SSL_CTX_set_min_proto_version(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_min_proto_version(context, version);
}

static inline int skein_SSL_CTX_set_max_proto_version(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_max_proto_version(context, version);
}

static inline void skein_SSL_CTX_set_session_cache_off(SSL_CTX *context) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}

static inline void skein_SSL_CTX_set_max_cert_list(SSL_CTX *context, long bytes) {
    SSL_CTX_set_max_cert_list(context, bytes);
}

static inline int skein_SSL_CTX_set1_chain(SSL_CTX *context, STACK_OF(X509) *chain) {
    return (int)SSL_CTX_set1_chain(context, chain);
}

static inline void skein_SSL_CTX_set_tlsext_servername(
    SSL_CTX *context, int (*choose)(SSL *, int *, void *)) {
    SSL_CTX_set_tlsext_servername_callback(context, choose);
}

static inline int skein_SSL_CTX_new_index(CRYPTO_EX_free *release) {
    return SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, release);
}

static inline int skein_SSL_new_index(void) { return SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL); }

static inline int skein_SSL_set_tlsext_host_name(SSL *session, const char *name) {
    return (int)SSL_set_tlsext_host_name(session, name);
}

static inline STACK_OF(X509) *skein_X509_stack(void) { return sk_X509_new_null(); }

static inline int skein_X509_stack_push(STACK_OF(X509) *stack, X509 *certificate) {
    return sk_X509_push(stack, certificate);
}

static inline void skein_X509_stack_free(STACK_OF(X509) *stack) { sk_X509_pop_free(stack, X509_free); }

static inline int skein_names_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }

static inline void skein_names_free(GENERAL_NAMES *names) {
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
}

// The DNS name at `index`, or NULL when it is of another kind.
static inline const unsigned char *skein_names_dns(const GENERAL_NAMES *names, int index, int *bytes) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
    if (name->type != GEN_DNS) return NULL;
    *bytes = ASN1_STRING_length(name->d.dNSName);
    return ASN1_STRING_get0_data(name->d.dNSName);
}

static inline int skein_X509_NAME_line(BIO *target, const X509_NAME *name) {
    return X509_NAME_print_ex(target, name, 0, XN_FLAG_RFC2253);
}

static inline void skein_BIO_clear_retry(BIO *bio) { BIO_clear_retry_flags(bio); }

static inline void skein_BIO_set_retry_read(BIO *bio) { BIO_set_retry_read(bio); }

// Parameters keep pointers to their names, so they are put together here, where those are constants.
static inline int skein_EVP_MAC_use_SHA256(EVP_MAC_CTX *mac, unsigned char *key, size_t bytes) {
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, bytes),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, parameters);
}
