// The floor, on io_uring: `uring_server [PORT]`. Multishot accept and receive from one provided
// buffer ring; sends go out inline with the enter and give a completion only when they did not
// send everything: MSG_DONTWAIT makes them return at once, MSG_WAITALL makes a short send count as
// a failure that is reported, and CQE_SKIP_SUCCESS drops the rest. So what one turn sent may be
// reused as soon as the failures that came with the next completions are handled.
#include "floor.h"

#include <liburing.h>
#include <sys/mman.h>

#define submissionCount 4096
#define completionCount 32768
#define bufferCount 1024
#define bufferBytes 2048
#define bufferGroup 1

typedef enum {
    operationAccept,
    operationReceive,
    operationSend,
    operationFan,
    operationDrain,
} Operation;

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static uint8_t *bufferMemory;
static int listener;

// Sent in the turn before: their bytes are free once its failures are known.
static int flying[connectionCountMax];
static uint32_t flyingCount;
static uint8_t *fannedBatch;
static size_t fannedBytes, fannedCapacity;
// What a blocked connection is sending; its `out` gathers what comes after it.
static uint8_t *draining[connectionCountMax];
static uint32_t drainingStart[connectionCountMax], drainingEnd[connectionCountMax];

static struct io_uring_sqe *submission(Operation operation, int fd) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    sqe->user_data = (uint64_t)operation << 32 | (uint32_t)fd;
    return sqe;
}

// liburing's prep functions clear the user data.
static void mark(struct io_uring_sqe *sqe, Operation operation, int fd) {
    sqe->user_data = (uint64_t)operation << 32 | (uint32_t)fd;
}

static void armAccept(void) {
    struct io_uring_sqe *sqe = submission(operationAccept, listener);
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    mark(sqe, operationAccept, listener);
}

static void armReceive(int fd) {
    struct io_uring_sqe *sqe = submission(operationReceive, fd);
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = bufferGroup;
    mark(sqe, operationReceive, fd);
}

static void submitSend(Operation operation, int fd, const void *bytes, size_t count) {
    struct io_uring_sqe *sqe = submission(operation, fd);
    bool isDrain = operation == operationDrain;
    io_uring_prep_send(sqe, fd, bytes, count,
                       MSG_WAITALL | MSG_NOSIGNAL | (isDrain ? 0 : MSG_DONTWAIT));
    if (!isDrain) sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    mark(sqe, operation, fd);
}

static void giveBack(uint16_t buffer) {
    io_uring_buf_ring_add(buffers, bufferMemory + (size_t)buffer * bufferBytes, bufferBytes, buffer,
                          bufferCount - 1, 0);
    io_uring_buf_ring_advance(buffers, 1);
}

// MARK: completions

/// A send that did not send everything: the rest waits in the kernel, in order, until it is gone.
static void sendFailed(Operation operation, int fd, int result) {
    Connection *connection = &connections[fd];
    if (result < 0 && result != -EAGAIN) return;  // receiving will find out why
    size_t sent = result > 0 ? (size_t)result : 0;
    if (operation == operationFan)
        queueBytes(fd, fannedBatch + sent, fannedBytes - sent);
    else connection->outStart += (uint32_t)sent;
    connection->isBlocked = true;
    markDirty(fd);
}

static void submitDrain(int fd) {
    submitSend(operationDrain, fd, draining[fd] + drainingStart[fd],
               drainingEnd[fd] - drainingStart[fd]);
}

static void drained(int fd, int result) {
    Connection *connection = &connections[fd];
    if (result > 0) drainingStart[fd] += (uint32_t)result;
    if (result > 0 && drainingStart[fd] < drainingEnd[fd]) {
        submitDrain(fd);
        return;
    }
    free(draining[fd]);
    draining[fd] = NULL;
    if (connection->isEnded) {
        forget(fd);
        return;
    }
    connection->isBlocked = connection->outStart != connection->outEnd;
    if (connection->isBlocked) markDirty(fd);
}

static void accepted(int fd) {
    if (fd >= connectionCountMax) {
        close(fd);
        return;
    }
    bool isDirty = connections[fd].isDirty;
    connections[fd] = (Connection){.isDirty = isDirty};
    armReceive(fd);
}

static void receivedBytes(int fd, uint8_t *bytes, size_t count) {
    static uint8_t joined[256 * 1024];
    Connection *connection = &connections[fd];
    size_t before = connection->partialBytes;
    if (before) {
        memcpy(joined, connection->partial, before);
        memcpy(joined + before, bytes, count);
        bytes = joined;
        count += before;
    }
    ssize_t used = consume(fd, bytes, count);
    if (used < 0) shutdown(fd, SHUT_RDWR);  // the receive ends with 0, and that forgets it
    else if ((size_t)used < count || before)
        keepPartial(connection, bytes + used, count - (size_t)used);
}

static void received(int fd, const struct io_uring_cqe *cqe) {
    if (cqe->res > 0) {
        uint16_t buffer = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        receivedBytes(fd, bufferMemory + (size_t)buffer * bufferBytes, (size_t)cqe->res);
        giveBack(buffer);
        if (!(cqe->flags & IORING_CQE_F_MORE)) armReceive(fd);
    } else if (cqe->res == -ENOBUFS) {
        armReceive(fd);
    } else if (draining[fd]) {
        connections[fd].isEnded = true;
        shutdown(fd, SHUT_RDWR);
    } else {
        forget(fd);
    }
}

static void handleCompletions(void) {
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&ring, head, cqe) {
        Operation operation = (Operation)(cqe->user_data >> 32);
        if (operation == operationSend || operation == operationFan)
            sendFailed(operation, (int)(uint32_t)cqe->user_data, cqe->res);
    }
    for (uint32_t index = 0; index < flyingCount; index++)
        if (!connections[flying[index]].isBlocked) releaseOut(&connections[flying[index]]);
    flyingCount = 0;

    io_uring_for_each_cqe(&ring, head, cqe) {
        int fd = (int)(uint32_t)cqe->user_data;
        count++;
        switch ((Operation)(cqe->user_data >> 32)) {
        case operationAccept:
            if (cqe->res >= 0) accepted(cqe->res);
            if (!(cqe->flags & IORING_CQE_F_MORE)) armAccept();
            break;
        case operationReceive: received(fd, cqe); break;
        case operationDrain: drained(fd, cqe->res); break;
        default: break;
        }
    }
    io_uring_cq_advance(&ring, count);
}

// MARK: the turn's end

static void fanOut(void) {
    uint8_t *spare = fannedBatch;
    size_t spareCapacity = fannedCapacity;
    fannedBatch = batch, fannedBytes = batchBytes, fannedCapacity = batchCapacity;
    batch = spare, batchBytes = 0, batchCapacity = spareCapacity;
    for (uint32_t index = 0; index < subscriberCount; index++) {
        int fd = subscribers[index];
        if (connections[fd].isBlocked || connections[fd].outStart != connections[fd].outEnd)
            queueBytes(fd, fannedBatch, fannedBytes);
        else submitSend(operationFan, fd, fannedBatch, fannedBytes);
    }
}

static void flushDirty(void) {
    for (uint32_t index = 0; index < dirtyCount; index++) {
        int fd = dirty[index];
        Connection *connection = &connections[fd];
        connection->isDirty = false;
        size_t count = connection->outEnd - connection->outStart;
        if (count == 0 || draining[fd]) continue;
        if (connection->isBlocked) {
            draining[fd] = connection->out;
            drainingStart[fd] = connection->outStart;
            drainingEnd[fd] = connection->outEnd;
            connection->out = NULL;
            connection->outStart = connection->outEnd = connection->outCapacity = 0;
            submitDrain(fd);
        } else {
            submitSend(operationSend, fd, connection->out + connection->outStart, count);
            flying[flyingCount++] = fd;
        }
    }
    dirtyCount = 0;
}

static void start(void) {
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
        .cq_entries = completionCount,
    };
    int result = io_uring_queue_init_params(submissionCount, &ring, &parameters);
    if (result < 0) {
        fprintf(stderr, "io_uring: %s\n", strerror(-result));
        exit(1);
    }
    io_uring_register_ring_fd(&ring);
    size_t ringBytes = bufferCount * sizeof(struct io_uring_buf);
    buffers = mmap(NULL, ringBytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    bufferMemory = mmap(NULL, (size_t)bufferCount * bufferBytes, PROT_READ | PROT_WRITE,
                        MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)buffers,
        .ring_entries = bufferCount,
        .bgid = bufferGroup,
    };
    result = io_uring_register_buf_ring(&ring, &registration, 0);
    if (result < 0) {
        fprintf(stderr, "buffer ring: %s\n", strerror(-result));
        exit(1);
    }
    io_uring_buf_ring_init(buffers);
    for (uint16_t buffer = 0; buffer < bufferCount; buffer++) giveBack(buffer);
}

int main(int argumentCount, char **arguments) {
    listener = listenOn(argumentCount > 1 ? atoi(arguments[1]) : 0);
    start();
    armAccept();
    for (;;) {
        // Waiting for more than one completion was measured to save enters and no time: with a
        // client that waits for its answers, the two only fall into lock-step.
        io_uring_submit_and_wait(&ring, 1);
        handleCompletions();
        if (batchBytes) fanOut();
        flushDirty();
    }
}
