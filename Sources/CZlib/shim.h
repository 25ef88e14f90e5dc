#pragma once
// Of glibc: what an allocation of zlib's really takes.
#include <malloc.h>
#include <zlib.h>
