// User tokens: from a file (`user token` a line), or minted here as HS256 JWTs with `sub`, `iat`
// and `exp`.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define userBytesMax 128
#define tokenBytesMax 2048

typedef struct TokenSource TokenSource;

/// Tokens read from `file`, or minted with `secret`; with neither, users have names but no tokens.
TokenSource *tokenSourceMake(const char *file, const char *secret, const char *userPrefix,
                             uint32_t ttlSeconds);
void tokenSourceUser(const TokenSource *source, uint32_t index, char user[userBytesMax]);
/// The token of user `index`, "" where there are none.
void tokenSourceToken(TokenSource *source, uint32_t index, char token[tokenBytesMax]);

size_t base64Encode(char *destination, const uint8_t *source, size_t length);
