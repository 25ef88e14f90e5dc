#define OPENSSL_SUPPRESS_DEPRECATED
#include "token.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    char *user;
    char *token;
} Entry;

struct TokenSource {
    const char *userPrefix;
    Entry *entries;
    uint32_t entryCount;
    uint32_t ttlSeconds;
    int minting;
    // The hash states after the inner and the outer key block: a signature then costs three
    // SHA-256 blocks, which keeps a connect storm's client from measuring itself.
    SHA256_CTX inner, outer;
};

static const char alphabetURL[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char alphabetStandard[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t encode(char *destination, const uint8_t *source, size_t length,
                     const char *alphabet) {
    char *out = destination;
    size_t index = 0;
    for (; index + 3 <= length; index += 3) {
        uint32_t group = (uint32_t)source[index] << 16 | (uint32_t)source[index + 1] << 8 |
                         source[index + 2];
        for (int shift = 18; shift >= 0; shift -= 6) *out++ = alphabet[group >> shift & 63];
    }
    size_t rest = length - index;
    if (rest) {
        uint32_t group = (uint32_t)source[index] << 16;
        if (rest == 2) group |= (uint32_t)source[index + 1] << 8;
        *out++ = alphabet[group >> 18 & 63];
        *out++ = alphabet[group >> 12 & 63];
        if (rest == 2) *out++ = alphabet[group >> 6 & 63];
    }
    return (size_t)(out - destination);
}

size_t base64Encode(char *destination, const uint8_t *source, size_t length) {
    size_t count = encode(destination, source, length, alphabetStandard);
    while (count % 4) destination[count++] = '=';
    destination[count] = 0;
    return count;
}

static void prepareKey(TokenSource *source, const char *secret) {
    uint8_t key[64] = {0}, block[64];
    size_t length = strlen(secret);
    if (length > sizeof key) SHA256((const uint8_t *)secret, length, key);
    else memcpy(key, secret, length);
    for (int index = 0; index < 64; index++) block[index] = key[index] ^ 0x36;
    SHA256_Init(&source->inner);
    SHA256_Update(&source->inner, block, sizeof block);
    for (int index = 0; index < 64; index++) block[index] = key[index] ^ 0x5c;
    SHA256_Init(&source->outer);
    SHA256_Update(&source->outer, block, sizeof block);
}

static void readEntries(TokenSource *source, const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) {
        fprintf(stderr, "load: cannot read %s; write one `user token` per line\n", path);
        exit(2);
    }
    char user[userBytesMax], token[tokenBytesMax];
    uint32_t capacity = 0;
    while (fscanf(file, "%127s %2047s", user, token) == 2) {
        if (source->entryCount == capacity) {
            capacity = capacity ? capacity * 2 : 1024;
            source->entries = realloc(source->entries, capacity * sizeof(Entry));
        }
        source->entries[source->entryCount++] = (Entry){strdup(user), strdup(token)};
    }
    fclose(file);
    if (source->entryCount == 0) {
        fprintf(stderr, "load: %s holds no `user token` line\n", path);
        exit(2);
    }
}

TokenSource *tokenSourceMake(const char *file, const char *secret, const char *userPrefix,
                             uint32_t ttlSeconds) {
    TokenSource *source = calloc(1, sizeof *source);
    source->userPrefix = userPrefix;
    source->ttlSeconds = ttlSeconds;
    if (file) readEntries(source, file);
    else if (secret) {
        prepareKey(source, secret);
        source->minting = 1;
    }
    return source;
}

void tokenSourceUser(const TokenSource *source, uint32_t index, char user[userBytesMax]) {
    if (source->entryCount)
        snprintf(user, userBytesMax, "%s", source->entries[index % source->entryCount].user);
    else snprintf(user, userBytesMax, "%.100s%u", source->userPrefix, index);
}

void tokenSourceToken(TokenSource *source, uint32_t index, char token[tokenBytesMax]) {
    token[0] = 0;
    if (source->entryCount) {
        strcpy(token, source->entries[index % source->entryCount].token);
        return;
    }
    if (!source->minting) return;

    char user[userBytesMax], claims[userBytesMax + 96];
    tokenSourceUser(source, index, user);
    long now = time(NULL);
    int claimsBytes = snprintf(claims, sizeof claims, "{\"sub\":\"%s\",\"iat\":%ld,\"exp\":%ld}",
                               user, now, now + source->ttlSeconds);
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    size_t count = encode(token, (const uint8_t *)header, sizeof header - 1, alphabetURL);
    token[count++] = '.';
    count += encode(token + count, (const uint8_t *)claims, (size_t)claimsBytes, alphabetURL);

    uint8_t digest[32];
    SHA256_CTX context = source->inner;
    SHA256_Update(&context, token, count);
    SHA256_Final(digest, &context);
    context = source->outer;
    SHA256_Update(&context, digest, sizeof digest);
    SHA256_Final(digest, &context);
    token[count++] = '.';
    count += encode(token + count, digest, sizeof digest, alphabetURL);
    token[count] = 0;
}
