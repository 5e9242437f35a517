/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The socket functions as libslirp finds them: those of the program come before those of the C library.
 *
 * Descriptors of ours begin at FIRST; below are real ones, of which libslirp has none.
 */
#define _DEFAULT_SOURCE
#include "host.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST 10000

enum kind { FREE, FRESH, DOOR, LINE, DATAGRAMS };

struct handle {
    enum kind kind;
    struct line *line; /* of a door: who waits there */
    int dialling;      /* connect() has begun, and libslirp does not know yet that it has succeeded */
    int refused;       /* a connection or a datagram has met a closed port, and libslirp does not know yet */
    struct sockaddr_storage bound;
};

struct line *(*host_dialled)(int family, uint16_t port);
const char *host_because;
int host_changed;

static struct handle *handles;
static int room;
static struct line *expected;

static struct handle *of(int fd) {
    if (fd < FIRST || fd >= FIRST + room || handles[fd - FIRST].kind == FREE) {
        errno = fd < 0 || fd >= FIRST ? EBADF : ENOTSOCK;
        return NULL;
    }
    return &handles[fd - FIRST];
}

static int made(enum kind kind) {
    int at = 0;
    while (at < room && handles[at].kind != FREE)
        at++;
    if (at == room) {
        handles = realloc(handles, (size_t)(2 * room + 16) * sizeof *handles);
        if (!handles)
            abort();
        memset(handles + room, 0, (size_t)(room + 16) * sizeof *handles);
        room = 2 * room + 16;
    }
    memset(&handles[at], 0, sizeof *handles);
    handles[at].kind = kind;
    return FIRST + at;
}

static int failed(int error) {
    errno = error;
    return -1;
}

/* ---- for the adapter ------------------------------------------------------------------------------------------- */

void host_expect(struct line *line) {
    expected = line;
}

struct line *host_line(int fd) {
    struct handle *handle = of(fd);
    return handle && handle->kind == LINE ? handle->line : NULL;
}

int host_ready(int fd) {
    struct handle *handle = of(fd);
    struct line *line = handle ? handle->line : NULL;
    if (!handle)
        return 0;
    if (handle->kind == DATAGRAMS)
        return handle->refused ? HOST_IN : 0;
    if (handle->dialling)
        return HOST_OUT;
    if (!line)
        return 0;
    if (handle->kind == DOOR)
        return HOST_IN;
    return (line->out_left || line->write_closed || line->reset ? HOST_IN : 0) |
           (line->out_left && line->urgent && !line->reset ? HOST_URGENT : 0) |
           (line->wanted || line->closed || line->read_closed ? HOST_OUT : 0);
}

/* ---- for libslirp ---------------------------------------------------------------------------------------------- */

int socket(int domain, int type, int protocol) {
    (void)domain;
    if (protocol == IPPROTO_ICMP || (type & 0xf) == SOCK_RAW)
        return failed(EPERM); /* echoes to the stack itself need no socket; there is nobody else to ask */
    return made((type & 0xf) == SOCK_DGRAM ? DATAGRAMS : FRESH);
}

int bind(int fd, const struct sockaddr *address, socklen_t size) {
    struct handle *handle = of(fd);
    if (!handle)
        return -1;
    memcpy(&handle->bound, address, size);
    return 0;
}

int listen(int fd, int backlog) {
    struct handle *handle = of(fd);
    (void)backlog;
    if (!handle)
        return -1;
    handle->kind = DOOR;
    handle->line = expected;
    expected = NULL;
    return 0;
}

static void loopback(const struct line *line, struct sockaddr_storage *address) {
    memset(address, 0, sizeof *address);
    if (line->here.family == 4) {
        struct sockaddr_in *four = (struct sockaddr_in *)address;
        four->sin_family = AF_INET;
        four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        four->sin_port = htons(line->here.port);
    } else {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
        six->sin6_family = AF_INET6;
        six->sin6_addr = in6addr_loopback;
        six->sin6_port = htons(line->here.port);
    }
}

static int answer(const struct sockaddr_storage *known, struct sockaddr *address, socklen_t *size) {
    socklen_t whole = known->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    memcpy(address, known, *size < whole ? *size : whole);
    *size = whole;
    return 0;
}

int accept(int fd, struct sockaddr *address, socklen_t *size) {
    struct handle *door = of(fd);
    struct sockaddr_storage from;
    struct line *line;
    int handle;
    if (!door)
        return -1;
    if (door->kind != DOOR || !door->line)
        return failed(EAGAIN);
    line = door->line;
    door->line = NULL;
    handle = made(LINE); /* `door` may have moved */
    handles[handle - FIRST].line = line;
    line->handle = handle;
    loopback(line, &from);
    handles[handle - FIRST].bound = from;
    answer(&from, address, size);
    return handle;
}

static int is_loopback(const struct sockaddr *address) {
    const struct sockaddr_in *four = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    return address->sa_family == AF_INET ? four->sin_addr.s_addr == htonl(INADDR_LOOPBACK)
                                         : IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

int connect(int fd, const struct sockaddr *address, socklen_t size) {
    struct handle *handle = of(fd);
    struct line *line;
    (void)size;
    if (!handle)
        return -1;
    if (!is_loopback(address))
        return failed(ENETUNREACH); /* this host has no network */
    line = address->sa_family == AF_INET ? host_dialled(4, ntohs(((const struct sockaddr_in *)address)->sin_port))
                                         : host_dialled(6, ntohs(((const struct sockaddr_in6 *)address)->sin6_port));
    handle->kind = LINE;
    handle->line = line;
    handle->dialling = 1;
    handle->refused = !line;
    if (line)
        line->handle = fd;
    return failed(EINPROGRESS); /* over the loopback interface, too, the outcome is told later */
}

static void keep(struct line *line, const void *octets, size_t size) {
    if (line->read_closed)
        return;
    line->got = realloc(line->got, line->got_size + size);
    if (!line->got)
        abort();
    memcpy(line->got + line->got_size, octets, size);
    line->got_size += size;
    host_changed = 1;
}

/* Takes no more than the application has asked for, so that the rest stays in libslirp and in its window. */
ssize_t send(int fd, const void *octets, size_t size, int flags) {
    struct handle *handle = of(fd);
    struct line *line = handle ? handle->line : NULL;
    size_t taken;
    if (handle && handle->kind == LINE && handle->dialling) { /* libslirp's way to ask how connect() ended */
        handle->dialling = 0;
        return handle->refused ? failed(ECONNREFUSED) : 0;
    }
    if (!line || handle->kind != LINE)
        return failed(handle ? ENOTCONN : errno);
    if (line->closed)
        return failed(EPIPE);
    /* Of urgent data libslirp takes a part for the connection's end, so there is always room for it. */
    taken = flags & MSG_OOB || line->read_closed || size < line->wanted ? size : line->wanted;
    if (taken == 0)
        return failed(EAGAIN);
    keep(line, octets, taken);
    line->wanted -= taken < line->wanted ? taken : line->wanted;
    return (ssize_t)taken;
}

ssize_t recv(int fd, void *octets, size_t size, int flags) {
    struct handle *handle = of(fd);
    struct line *line = handle ? handle->line : NULL;
    (void)flags;
    if (!line || handle->kind != LINE)
        return failed(handle ? ENOTCONN : errno);
    if (line->reset)
        return failed(ECONNRESET);
    if (line->out_left) {
        size = size < line->out_left ? size : line->out_left;
        memcpy(octets, line->out, size);
        line->out += size;
        line->out_left -= size;
        return (ssize_t)size;
    }
    return line->write_closed ? 0 : failed(EAGAIN);
}

int shutdown(int fd, int how) {
    struct handle *handle = of(fd);
    if (!handle)
        return -1;
    if (handle->kind == LINE && handle->line && how != SHUT_RD)
        host_changed = handle->line->ended = 1;
    return 0;
}

int close(int fd) {
    struct handle *handle;
    if (fd >= 0 && fd < FIRST)
        return (int)syscall(SYS_close, fd);
    handle = of(fd);
    if (!handle)
        return -1;
    if (handle->kind == LINE && handle->line) {
        handle->line->handle = -1;
        handle->line->why = host_because;
        host_changed = handle->line->ended = 1;
    }
    handle->kind = FREE;
    return 0;
}

/* Nothing listens for datagrams: to the host each meets a closed port, which is told by an error when libslirp reads;
 * to anywhere else it is lost. */
ssize_t sendto(int fd, const void *octets, size_t size, int flags, const struct sockaddr *address, socklen_t length) {
    struct handle *handle = of(fd);
    (void)octets, (void)flags, (void)length;
    if (!handle)
        return -1;
    handle->refused = is_loopback(address);
    return (ssize_t)size;
}

ssize_t recvfrom(int fd, void *octets, size_t size, int flags, struct sockaddr *address, socklen_t *length) {
    struct handle *handle = of(fd);
    (void)octets, (void)size, (void)flags, (void)address, (void)length;
    if (!handle || !handle->refused)
        return failed(handle ? EAGAIN : errno);
    handle->refused = 0;
    return failed(ECONNREFUSED);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    (void)message, (void)flags;
    return of(fd) ? failed(EAGAIN) : -1; /* no queue of errors */
}

int getsockname(int fd, struct sockaddr *address, socklen_t *size) {
    struct handle *handle = of(fd);
    return handle ? answer(&handle->bound, address, size) : -1;
}

int getpeername(int fd, struct sockaddr *address, socklen_t *size) {
    struct handle *handle = of(fd);
    return handle && handle->kind == LINE ? answer(&handle->bound, address, size) : failed(handle ? ENOTCONN : errno);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size) {
    (void)level, (void)option;
    if (!of(fd))
        return -1;
    memset(value, 0, *size); /* SO_ERROR: none */
    return 0;
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t size) {
    (void)level, (void)option, (void)value, (void)size;
    return of(fd) ? 0 : -1;
}

int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    void *argument;
    va_start(rest, request);
    argument = va_arg(rest, void *);
    va_end(rest);
    if (fd >= 0 && fd < FIRST)
        return (int)syscall(SYS_ioctl, fd, request, argument);
    if (request == FIONREAD)
        *(int *)argument = 0;
    return of(fd) ? 0 : -1;
}

static int controlled(int fd, int command, long argument) {
    if (fd >= 0 && fd < FIRST)
        return (int)syscall(SYS_fcntl, fd, command, argument);
    return of(fd) ? 0 : -1;
}

/* Which of the two libslirp calls was decided when it was built. */
int fcntl(int fd, int command, ...);
int fcntl64(int fd, int command, ...);

int fcntl(int fd, int command, ...) {
    va_list rest;
    long argument;
    va_start(rest, command);
    argument = va_arg(rest, long);
    va_end(rest);
    return controlled(fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
    va_list rest;
    long argument;
    va_start(rest, command);
    argument = va_arg(rest, long);
    va_end(rest);
    return controlled(fd, command, argument);
}
