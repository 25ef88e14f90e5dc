// The floor, on epoll: `epoll_server [PORT]`. What one turn of the loop produced for a connection
// leaves in one send at the turn's end.
#include "floor.h"

#include <sys/epoll.h>

#define receiveBytes (128 * 1024)
#define eventCountMax 1024

static int epoll;
static uint8_t received[receiveBytes];

static void watch(int fd, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll, operation, fd, &event);
}

static void acceptAll(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        if (fd >= connectionCountMax) {
            close(fd);
            continue;
        }
        bool isDirty = connections[fd].isDirty;
        connections[fd] = (Connection){.isDirty = isDirty};
        watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void receive(int fd) {
    Connection *connection = &connections[fd];
    size_t before = connection->partialBytes;
    if (before) memcpy(received, connection->partial, before);
    ssize_t count = recv(fd, received + before, receiveBytes - 1 - before, 0);
    if (count < 0 && errno == EAGAIN) return;
    ssize_t used = count > 0 ? consume(fd, received, before + (size_t)count) : -1;
    if (used < 0) {
        forget(fd);
        return;
    }
    size_t left = before + (size_t)count - (size_t)used;
    if (left || before) keepPartial(connection, received + used, left);
}

static void flush(int fd) {
    Connection *connection = &connections[fd];
    size_t count = connection->outEnd - connection->outStart;
    if (count == 0) return;
    ssize_t sent = send(fd, connection->out + connection->outStart, count,
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == (ssize_t)count) {
        releaseOut(connection);
        if (connection->isBlocked) watch(fd, EPOLL_CTL_MOD, EPOLLIN);
        connection->isBlocked = false;
        return;
    }
    if (sent < 0 && errno != EAGAIN) {
        releaseOut(connection);  // receiving will find out why
        return;
    }
    if (sent > 0) connection->outStart += (uint32_t)sent;
    if (!connection->isBlocked) watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    connection->isBlocked = true;
}

static void fanOut(void) {
    for (uint32_t index = 0; index < subscriberCount; index++) {
        int fd = subscribers[index];
        size_t sent = 0;
        if (connections[fd].outStart == connections[fd].outEnd) {
            ssize_t count = send(fd, batch, batchBytes, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (count == (ssize_t)batchBytes || (count < 0 && errno != EAGAIN)) continue;
            if (count > 0) sent = (size_t)count;
        }
        queueBytes(fd, batch + sent, batchBytes - sent);
    }
    batchBytes = 0;
}

int main(int argumentCount, char **arguments) {
    int listener = listenOn(argumentCount > 1 ? atoi(arguments[1]) : 0);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        static struct epoll_event events[eventCountMax];
        int count = epoll_wait(epoll, events, eventCountMax, -1);
        for (int index = 0; index < count; index++) {
            int fd = events[index].data.fd;
            if (fd == listener) {
                acceptAll(listener);
                continue;
            }
            if (events[index].events & EPOLLOUT) flush(fd);
            if (events[index].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) receive(fd);
        }
        if (batchBytes) fanOut();
        for (uint32_t index = 0; index < dirtyCount; index++) {
            connections[dirty[index]].isDirty = false;
            if (!connections[dirty[index]].isBlocked) flush(dirty[index]);
        }
        dirtyCount = 0;
    }
}
