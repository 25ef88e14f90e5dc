#pragma once
// <sys/select.h> first: liburing defines _XOPEN_SOURCE, which would change fd_set.
#include <sys/select.h>
#include <liburing.h>
