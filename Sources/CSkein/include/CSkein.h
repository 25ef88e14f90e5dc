// The C that Swift cannot say: macros, enum-built bits, memory barriers on shared rings, and the
// io_uring interface newer than the liburing of the oldest distribution we build on. No logic:
// every function is one expression or one system call.
#pragma once
// <sys/select.h> first: liburing defines _XOPEN_SOURCE, which would change fd_set.
#include <sys/select.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <liburing.h>

// Barriers on words that the kernel writes or reads through shared memory.
static inline uint32_t skein_load_acquire(const unsigned *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline uint32_t skein_load_relaxed(const unsigned *word) {
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}
static inline void skein_store_release(unsigned *word, uint32_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
static inline void skein_store_release_16(uint16_t *word, uint16_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

// Bits that are built from enums or casts, which the importer drops.
#define SKEIN_CONSTANT(type, name, value) \
    static inline type name(void) { return (type)(value); }
SKEIN_CONSTANT(uint8_t, skein_op_send, IORING_OP_SEND)
SKEIN_CONSTANT(uint8_t, skein_op_sendmsg, IORING_OP_SENDMSG)
SKEIN_CONSTANT(uint8_t, skein_op_recv, IORING_OP_RECV)
SKEIN_CONSTANT(uint8_t, skein_op_accept, IORING_OP_ACCEPT)
SKEIN_CONSTANT(uint8_t, skein_op_connect, IORING_OP_CONNECT)
SKEIN_CONSTANT(uint8_t, skein_op_poll_add, IORING_OP_POLL_ADD)
SKEIN_CONSTANT(uint8_t, skein_op_cancel, IORING_OP_ASYNC_CANCEL)
SKEIN_CONSTANT(uint8_t, skein_op_nop, IORING_OP_NOP)
SKEIN_CONSTANT(uint8_t, skein_op_close, IORING_OP_CLOSE)
SKEIN_CONSTANT(uint8_t, skein_op_read, IORING_OP_READ)
SKEIN_CONSTANT(uint32_t, skein_msg_nosignal, MSG_NOSIGNAL)
SKEIN_CONSTANT(uint8_t, skein_sqe_skip_success, IOSQE_CQE_SKIP_SUCCESS)
SKEIN_CONSTANT(uint8_t, skein_sqe_buffer_select, IOSQE_BUFFER_SELECT)
SKEIN_CONSTANT(uint32_t, skein_cqe_f_more, IORING_CQE_F_MORE)
SKEIN_CONSTANT(uint32_t, skein_cqe_f_buffer, IORING_CQE_F_BUFFER)
SKEIN_CONSTANT(uint16_t, skein_recv_multishot, IORING_RECV_MULTISHOT)
SKEIN_CONSTANT(uint16_t, skein_accept_multishot, IORING_ACCEPT_MULTISHOT)
SKEIN_CONSTANT(uint32_t, skein_send_now_flags, MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL)
SKEIN_CONSTANT(uint32_t, skein_cancel_fd_all, IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL)
SKEIN_CONSTANT(uint32_t, skein_cancel_all, IORING_ASYNC_CANCEL_ALL)
SKEIN_CONSTANT(uint32_t, skein_cancel_any, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL)
SKEIN_CONSTANT(int32_t, skein_sock_stream_cloexec, SOCK_STREAM | SOCK_CLOEXEC)
SKEIN_CONSTANT(int32_t, skein_sock_stream, SOCK_STREAM)
SKEIN_CONSTANT(int32_t, skein_epoll_cloexec, EPOLL_CLOEXEC)
SKEIN_CONSTANT(int32_t, skein_sock_cloexec, SOCK_CLOEXEC)
SKEIN_CONSTANT(int32_t, skein_send_flags, MSG_DONTWAIT | MSG_NOSIGNAL)
SKEIN_CONSTANT(int32_t, skein_receive_flags, MSG_DONTWAIT)
SKEIN_CONSTANT(uint32_t, skein_epoll_stream_events,
               EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
SKEIN_CONSTANT(uint32_t, skein_epoll_readable, EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)
SKEIN_CONSTANT(uint32_t, skein_epoll_writable, EPOLLOUT | EPOLLHUP | EPOLLERR)
SKEIN_CONSTANT(uint32_t, skein_epoll_ended, EPOLLRDHUP | EPOLLHUP | EPOLLERR)
SKEIN_CONSTANT(int32_t, skein_eventfd_flags, EFD_CLOEXEC | EFD_NONBLOCK)
SKEIN_CONSTANT(uint32_t, skein_epoll_wake_events, EPOLLIN | EPOLLET)

static inline void *skein_reserve(size_t bytes) {
    void *at = mmap(0, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? 0 : at;
}

static inline void skein_release(void *at, size_t bytes) { munmap(at, bytes); }

// One io_uring_enter. Answers the number submitted, or -errno.
static inline int skein_enter(int fd, unsigned submit, unsigned wait, unsigned flags,
                              void *argument, size_t argument_bytes) {
    return io_uring_enter2(fd, submit, wait, flags, (sigset_t *)argument, argument_bytes);
}

// Newer than liburing 2.3. Both came with 6.12: waiting until a point of CLOCK_MONOTONIC, and the
// feature bit that tells of the release (of its other news, the minimal wait).
SKEIN_CONSTANT(uint32_t, skein_enter_abs_timer, 1u << 5)
SKEIN_CONSTANT(uint32_t, skein_feature_min_timeout, 1u << 15)

static inline int skein_enter_until(int fd, unsigned submit, unsigned wait, unsigned flags,
                                    int64_t nanoseconds) {
    struct __kernel_timespec time = {
        .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    struct io_uring_getevents_arg argument = {.ts = (uint64_t)(uintptr_t)&time};
    return skein_enter(fd, submit, wait, flags, &argument, sizeof argument);
}

// IORING_REGISTER_SEND_MSG_RING (6.13): a message into another thread's ring without one's own.
static inline int skein_send_message(int ring_fd, uint64_t user_data) {
    struct io_uring_sqe sqe = {0};
    sqe.opcode = IORING_OP_MSG_RING;
    sqe.fd = ring_fd;
    sqe.off = user_data;
    return io_uring_register(-1, 31, &sqe, 1);
}

// Between looks at a word that another core is about to change.
static inline void skein_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

// A 32-bit word to sleep on while it has this value; may return early.
static inline void skein_futex_wait(const void *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}
static inline void skein_futex_wake(const void *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

// A provided-buffer ring's entry and tail: unions with a flexible array, which the importer drops.
static inline void skein_buffer_put(struct io_uring_buf_ring *ring, uint32_t index, void *address,
                                    uint32_t bytes, uint16_t identifier) {
    struct io_uring_buf *entry = &ring->bufs[index];
    entry->addr = (uint64_t)(uintptr_t)address;
    entry->len = bytes;
    entry->bid = identifier;
}
static inline void skein_buffer_tail(struct io_uring_buf_ring *ring, uint16_t tail) {
    __atomic_store_n(&ring->tail, tail, __ATOMIC_RELEASE);
}

// Filling one submission entry: its fields are anonymous unions. Everything not named is zero.
static inline void skein_prepare(struct io_uring_sqe *sqe, uint8_t opcode, uint8_t flags,
                                 uint16_t priority, int32_t fd, uint64_t offset, uint64_t address,
                                 uint32_t length, uint32_t operation_flags, uint64_t user_data) {
    sqe->opcode = opcode;
    sqe->flags = flags;
    sqe->ioprio = priority;
    sqe->fd = fd;
    sqe->off = offset;
    sqe->addr = address;
    sqe->len = length;
    sqe->rw_flags = (int)operation_flags;
    sqe->user_data = user_data;
    sqe->buf_index = 0;
    sqe->personality = 0;
    sqe->file_index = 0;
    sqe->addr3 = 0;
    sqe->__pad2[0] = 0;
}

// epoll_data is a union; a descriptor is all we keep in it.
static inline int skein_epoll_control(int epoll, int operation, int fd, uint32_t events) {
    struct epoll_event event;
    event.events = events;
    event.data.u64 = (uint64_t)(uint32_t)fd;
    return epoll_ctl(epoll, operation, fd, &event) == 0 ? 0 : -errno;
}
static inline int32_t skein_epoll_fd(const struct epoll_event *events, int index) {
    return (int32_t)events[index].data.u64;
}
static inline uint32_t skein_epoll_events(const struct epoll_event *events, int index) {
    return events[index].events;
}
// epoll_pwait2 (5.11) by number: its wrapper is younger. Without it, milliseconds rounded up. Below
// zero is for ever. Answers the number of events, or -errno.
static inline int skein_epoll_wait(int epoll, struct epoll_event *events, int max,
                                   int64_t nanoseconds, _Bool fine) {
    if (fine && nanoseconds > 0) {
        struct __kernel_timespec time = {
            .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
        long count = syscall(441, epoll, events, max, &time, 0, 0);
        return count >= 0 ? (int)count : -errno;
    }
    int64_t milliseconds = nanoseconds < 0 ? -1 : (nanoseconds + 999999) / 1000000;
    if (milliseconds > 1000000) milliseconds = 1000000;
    int count = epoll_wait(epoll, events, max, (int)milliseconds);
    return count >= 0 ? count : -errno;
}

// accept4 needs _GNU_SOURCE, fcntl takes a variable argument.
static inline int skein_accept(int fd) {
    long accepted = syscall(SYS_accept4, fd, 0, 0, SOCK_CLOEXEC);
    return accepted >= 0 ? (int)accepted : -errno;
}
static inline int skein_get_flags(int fd) { return fcntl(fd, F_GETFL); }
static inline int skein_set_flags(int fd, int flags) { return fcntl(fd, F_SETFL, flags); }

// pthread_setname_np, sched_setaffinity and CPU_SET need _GNU_SOURCE, which modules are not built
// with: the raw calls over a mask of 1,024 cores.
static inline int skein_thread_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }
static inline void skein_timer_slack(unsigned long nanoseconds) { prctl(PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0); }
static inline int skein_cpu_pin(int core) {
    unsigned long mask[16] = {0};
    if (core < 0 || core >= 1024) return -EINVAL;
    mask[core / 64] = 1ul << (core % 64);
    return syscall(SYS_sched_setaffinity, 0, sizeof mask, mask) >= 0 ? 0 : -errno;
}
static inline int skein_cpu_allowed(int core) {
    unsigned long mask[16] = {0};
    if (core < 0 || core >= 1024) return 0;
    if (syscall(SYS_sched_getaffinity, 0, sizeof mask, mask) < 0) return 0;
    return (mask[core / 64] >> (core % 64)) & 1;
}
