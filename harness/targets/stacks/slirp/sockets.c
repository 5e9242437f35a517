/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The application's sockets: what a socket command of the pipe does with the lines.
 */
#include "adapter.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"CLOSED",     "LISTEN",     "SYN-SENT",   "SYN-RECEIVED", "ESTABLISHED", "CLOSE-WAIT",
                                    "FIN-WAIT-1", "FIN-WAIT-2", "CLOSING",    "LAST-ACK",     "TIME-WAIT"};

/* What a socket number stands for. */
enum use { NOTHING, NEW, LISTENER, CONNECTION, OVER };
struct sock {
    enum use use;
    struct place here;
    int backlog;
    struct line *line;
};

static struct sock *socks;
static uint32_t sock_count;

/* How many connections a listener has that nobody has accepted. The host has answered libslirp before there is a
 * SYN,ACK, so half-open ones are among them. */
static int queued(uint32_t listener) {
    const struct line *line;
    int count = 0;
    for (line = line_first; line; line = line->next)
        count += line->listener == listener && !line->owner;
    return count;
}

struct line *sock_dialled(int family, uint16_t port) {
    uint32_t number;
    for (number = 1; number <= sock_count; number++) {
        struct sock *sock = &socks[number - 1];
        struct line *line;
        if (sock->use != LISTENER || sock->here.family != family || sock->here.port != port)
            continue;
        if (queued(number) >= sock->backlog)
            return NULL;
        line = line_new((uint8_t)family);
        line->here = sock->here;
        line->listener = number;
        memcpy(line->there.address, nat_guest, sizeof nat_guest);
        return line;
    }
    return NULL;
}

static struct sock *sock_of(uint32_t number) {
    return number && number <= sock_count && socks[number - 1].use != NOTHING ? &socks[number - 1] : NULL;
}

static struct sock *new_sock(uint32_t *made) {
    socks = realloc(socks, (sock_count + 1) * sizeof *socks);
    if (!socks)
        abort();
    memset(&socks[sock_count], 0, sizeof *socks);
    *made = sock_count + 1;
    return &socks[sock_count++];
}

const char *sock_make(int family, uint32_t *made) {
    if (family != 4 && family != 6)
        return "EPROTO";
    new_sock(made)->use = NEW;
    return NULL;
}

/* libslirp never waits with small segments, and has no other option that an application could reach. */
const char *sock_option(uint32_t number, const char *name, int64_t value) {
    if (!sock_of(number))
        return "EBADF";
    return !strcmp(name, "TCP_NODELAY") && value ? NULL : "ENOPROTOOPT";
}

const char *sock_listen(uint32_t number, const struct tq_end *local, int backlog) {
    struct sock *sock = sock_of(number);
    struct place place = place_of(local);
    uint32_t other;
    if (!sock)
        return "EBADF";
    if (sock->use != NEW)
        return "EINVAL";
    for (other = 0; other < sock_count; other++)
        if (socks[other].use == LISTENER && place_same(&socks[other].here, &place))
            return "EADDRINUSE";
    sock->use = LISTENER;
    sock->here = place;
    sock->backlog = backlog;
    return NULL;
}

const char *sock_listening(const struct tq_end *local, int *listens) {
    struct place place = place_of(local);
    uint32_t number;
    *listens = 0;
    for (number = 0; number < sock_count; number++)
        *listens |= socks[number].use == LISTENER && place_same(&socks[number].here, &place);
    return NULL;
}

const char *sock_connect(uint32_t number, const struct tq_end *local, const struct tq_end *remote) {
    struct sock *sock = sock_of(number);
    struct place here = place_of(local);
    struct line *line;
    if (!sock)
        return "EBADF";
    if (sock->use != NEW)
        return "EISCONN";
    if (line_between(local, remote))
        return "EBUSY"; /* not EADDRINUSE: it may be an attempt that was aborted, of which libslirp does not hear */
    line = line_new(here.family);
    line->here = here;
    line->there = place_of(remote);
    line->owner = number;
    sock->use = CONNECTION;
    sock->line = line;
    return nat_forward(line, &line->there, 0) || (line->handle < 0 && !line->ended) ? "ENETUNREACH" : NULL;
}

static struct line *line_of(uint32_t number) {
    struct sock *sock = sock_of(number);
    return sock && sock->use == CONNECTION ? sock->line : NULL;
}

/* Why a socket has no line. */
static const char *no_line(uint32_t number) {
    return sock_of(number) ? "ENOTCONN" : "EBADF";
}

/* A socket of the host's is connected to libslirp before there is a SYN, so this is told by libslirp's state, and why
 * the attempt has ended by when: as a segment came, or as time passed. */
const char *sock_connected(uint32_t number) {
    struct line *line = line_of(number);
    if (!line)
        return no_line(number);
    line_look();
    return line->established ? NULL : line->handle < 0 ? line->why : "EAGAIN";
}

const char *sock_accept(uint32_t number, uint32_t *made) {
    struct sock *sock = sock_of(number);
    struct line *line;
    if (!sock || sock->use != LISTENER)
        return sock ? "EINVAL" : "EBADF";
    line_look();
    for (line = line_first; line; line = line->next)
        if (line->listener == number && !line->owner && line->established)
            break;
    if (!line)
        return "EAGAIN";
    sock = new_sock(made);
    sock->use = CONNECTION;
    sock->line = line;
    line->owner = *made;
    return NULL;
}

const char *sock_send(uint32_t number, int urgent, const uint8_t *octets, size_t size, uint32_t *taken) {
    struct line *line = line_of(number);
    if (!line)
        return no_line(number);
    if (line->write_closed || line->closed || line->handle < 0)
        return "EPIPE";
    line->out = octets;
    line->out_left = size;
    line->urgent = urgent;
    nat_pump();
    *taken = (uint32_t)(size - line->out_left);
    line->out_left = 0;
    line->urgent = 0;
    return NULL;
}

const char *sock_recv(uint32_t number, uint8_t *octets, size_t wanted, size_t *size) {
    struct line *line = line_of(number);
    if (!line)
        return no_line(number);
    if (line->got_size < wanted && line->handle >= 0) {
        line->wanted = wanted - line->got_size;
        nat_pump();
        line->wanted = 0;
    }
    if (!line->got_size && !line->ended && !line->read_closed)
        return "EAGAIN";
    *size = line->got_size < wanted ? line->got_size : wanted;
    line->got_size -= *size;
    if (*size)
        memcpy(octets, line->got, *size);
    if (line->got_size)
        memmove(line->got, line->got + *size, line->got_size);
    return NULL;
}

const char *sock_shutdown(uint32_t number, int half) {
    struct line *line = line_of(number);
    if (!line || line->handle < 0)
        return line ? "ENOTCONN" : no_line(number);
    line->read_closed |= half & 1;
    line->write_closed |= half >> 1 & 1;
    nat_pump();
    return NULL;
}

/* The application leaves its line, with the end of its stream or with a reset, as far as libslirp still listens. */
static void leave(struct line *line, int reset) {
    line->reset |= reset;
    line->closed = line->write_closed = 1;
}

static void stop_listening(uint32_t number) {
    struct line *line;
    socks[number - 1].use = OVER;
    for (line = line_first; line; line = line->next)
        if (line->listener == number && !line->owner) {
            line->listener = 0;
            leave(line, 1);
        }
}

/* As the host's kernel does it: who closes with octets unread, or without lingering, resets; else it is the end. */
const char *sock_close(uint32_t number, int32_t linger_s) {
    struct sock *sock = sock_of(number);
    struct line *line = line_of(number);
    if (!sock)
        return "EBADF";
    if (sock->use == LISTENER)
        stop_listening(number);
    if (line) {
        line_look();
        leave(line, linger_s == 0 || line->unread > 0 || line->got_size > 0);
    }
    nat_pump();
    return NULL;
}

const char *sock_abort(uint32_t number) {
    struct sock *sock = sock_of(number);
    struct line *line = line_of(number);
    if (!sock)
        return "EBADF";
    if (sock->use == LISTENER)
        stop_listening(number);
    if (line) {
        leave(line, 1);
        line->listener = line->owner = 0;
    }
    sock->use = NOTHING;
    nat_pump();
    line_sweep();
    return NULL;
}

const char *sock_state(const struct tq_end *local, const struct tq_end *remote, const char **found) {
    struct line *line = line_between(local, remote);
    *found = names[line ? line->state : CLOSED];
    return NULL;
}

const char *sock_half_open(uint16_t port, uint32_t *count) {
    struct line *line;
    line_look();
    *count = 0;
    for (line = line_first; line; line = line->next)
        *count += line->here.port == port && line->state == SYN_RECEIVED;
    return NULL;
}
