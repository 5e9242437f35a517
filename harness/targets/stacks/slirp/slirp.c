/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libslirp behind tcpqual's pipe. Its guest is the injector; the host behind it is host.c. So a SYN of the injector to
 * the host's address is a passive open, a connection of the host's to a forwarded port an active one, and what an
 * application of the host hears of its connections is what libslirp tells its sockets: octets and their end.
 *
 * libslirp polls its timers. It is polled here at each half second, and 2 ms after it has put off an acknowledgement;
 * the state of a connection is read from the text of slirp_connection_info, by the descriptor.
 */
#define _POSIX_C_SOURCE 200809L
#include "host.h"

#include <netinet/in.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tcpqual_pipe.h"

#define MILLISECOND 1000000u
#define EPOCH (1000u * MILLISECOND) /* libslirp takes an instant of 0 for none */
#define SLOW (500u * MILLISECOND)
#define FAST 2u
#define MTU 1500
#define MOST_ROUNDS 100000
#define FEW_LINES 64

static const char *const names[] = {"CLOSED",     "LISTEN",     "SYN-SENT",   "SYN-RECEIVED", "ESTABLISHED", "CLOSE-WAIT",
                                    "FIN-WAIT-1", "FIN-WAIT-2", "CLOSING",    "LAST-ACK",     "TIME-WAIT"};
static const char *const theirs[] = {"CLOSED",     "LISTEN",     "SYN_SENT", "SYN_RCVD", "ESTABLISHED", "CLOSE_WAIT",
                                     "FIN_WAIT_1", "FIN_WAIT_2", "CLOSING",  "LAST_ACK", "TIME_WAIT"};
enum { CLOSED = 0, SYN_SENT = 2, SYN_RECEIVED = 3, ESTABLISHED = 4, STATES = 11 };

/* What a socket number stands for. */
enum use { NOTHING, NEW, LISTENER, CONNECTION, OVER };
struct sock {
    enum use use;
    struct place here;
    int backlog;
    struct line *line;
};

static Slirp *slirp;
static uint8_t guest[16]; /* who has sent the packet that is being looked at */
static struct line *lines;
static int line_count;
static struct sock *socks;
static uint32_t sock_count;
static struct {
    int handle, events;
} *polled;
static int polled_count, polled_room;
static uint64_t fast_due = TQ_NEVER;

/* ---- what libslirp asks of its surroundings ---------------------------------------------------------------------- */

static ssize_t send_packet(const void *octets, size_t size, void *opaque) {
    (void)opaque;
    tq_send_packet(octets, size);
    return (ssize_t)size;
}

static void guest_error(const char *message, void *opaque) {
    (void)opaque;
    fprintf(stderr, "libslirp: %s\n", message);
}

static int64_t clock_ns(void *opaque) {
    (void)opaque;
    return (int64_t)(EPOCH + tq.now);
}

/* There is one timer, of router advertisements. It takes random times from the machine, and is left out. */
static void *timer_new(SlirpTimerCb callback, void *argument, void *opaque) {
    static int timer;
    (void)callback, (void)argument, (void)opaque;
    return &timer;
}
static void timer_free(void *timer, void *opaque) { (void)timer, (void)opaque; }
static void timer_mod(void *timer, int64_t at, void *opaque) { (void)timer, (void)at, (void)opaque; }
static void descriptor(int handle, void *opaque) { (void)handle, (void)opaque; }
static void notify(void *opaque) { (void)opaque; }

static const SlirpCb callbacks = {
    .send_packet = send_packet, .guest_error = guest_error, .clock_get_ns = clock_ns, .timer_new = timer_new,
    .timer_free = timer_free, .timer_mod = timer_mod, .register_poll_fd = descriptor,
    .unregister_poll_fd = descriptor, .notify = notify};

/* ---- the loop of a program that uses libslirp -------------------------------------------------------------------- */

static int add_poll(int handle, int events, void *opaque) {
    (void)opaque;
    if (polled_count == polled_room) {
        polled_room = 2 * polled_room + 64;
        polled = realloc(polled, (size_t)polled_room * sizeof *polled);
        if (!polled)
            abort();
    }
    polled[polled_count].handle = handle;
    polled[polled_count].events = events;
    return polled_count++;
}

static int ready(int index, void *opaque) {
    int now = host_ready(polled[index].handle);
    (void)opaque;
    return ((now & HOST_IN ? SLIRP_POLL_IN : 0) | (now & HOST_OUT ? SLIRP_POLL_OUT : 0) |
            (now & HOST_URGENT ? SLIRP_POLL_PRI : 0)) &
           polled[index].events;
}

static int any_ready(void) {
    int index;
    for (index = 0; index < polled_count; index++)
        if (ready(index, NULL))
            return 1;
    return 0;
}

static uint32_t fill(void) {
    uint32_t timeout_ms = UINT32_MAX;
    polled_count = 0;
    slirp_pollfds_fill(slirp, &timeout_ms, add_poll, NULL);
    return timeout_ms;
}

/* Wakes libslirp up until it has nothing left to do at this instant. */
static void pump(void) {
    uint32_t timeout_ms;
    int rounds = 0;
    do {
        slirp_pollfds_poll(slirp, 0, ready, NULL);
        timeout_ms = fill();
    } while (any_ready() && ++rounds < MOST_ROUNDS);
    if (rounds == MOST_ROUNDS) {
        fprintf(stderr, "libslirp does not come to rest\n");
        abort();
    }
    if (timeout_ms > FAST)
        fast_due = TQ_NEVER;
    else if (fast_due == TQ_NEVER || fast_due <= tq.now) /* it counts whole milliseconds */
        fast_due = (tq.now / MILLISECOND + FAST) * MILLISECOND;
}

static uint64_t deadline(void) {
    uint64_t slow = (tq.now / SLOW + 1) * SLOW;
    return fast_due < slow ? fast_due : slow;
}

static void run(uint64_t now) {
    (void)now;
    host_because = "ETIMEDOUT";
    pump();
}

static int woken(void) {
    int changed = host_changed;
    host_changed = 0;
    return changed;
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static struct line *new_line(uint8_t family) {
    struct line *line = calloc(1, sizeof *line), **end = &lines;
    if (!line)
        abort();
    line->handle = -1;
    line->here.family = line->there.family = family;
    while (*end)
        end = &(*end)->next;
    line_count++;
    return *end = line;
}

/* Forgets lines that neither side holds. */
static void sweep(void) {
    struct line **at = &lines;
    while (*at) {
        struct line *line = *at;
        if (line->handle >= 0 || line->owner || (line->listener && line->established)) {
            at = &line->next;
            continue;
        }
        *at = line->next;
        free(line->got);
        free(line);
        line_count--;
    }
}

/* Asks libslirp for the state of its connections. */
static void look(void) {
    char *text = slirp_connection_info(slirp), *row, *rest = NULL;
    struct line *line;
    for (line = lines; line; line = line->next)
        if (line->handle < 0)
            line->state = CLOSED;
    for (row = strtok_r(text, "\n", &rest); row; row = strtok_r(NULL, "\n", &rest)) {
        char state[20];
        int handle, port, unread, index;
        if (sscanf(row, " TCP[%19[A-Z_0-9]] %d %*s %d %*s %*d %d", state, &handle, &port, &unread) != 4)
            continue;
        line = host_line(handle);
        if (!line)
            continue;
        if (line->listener)
            line->there.port = (uint16_t)port;
        line->unread = unread;
        for (index = 0; index < STATES; index++)
            if (!strcmp(state, theirs[index]))
                line->state = index;
        line->established |= line->state >= ESTABLISHED;
    }
    free(text);
}

static int same(const struct place *one, const struct place *other) {
    return one->family == other->family && one->port == other->port &&
           !memcmp(one->address, other->address, one->family == 4 ? 4 : 16);
}

static struct place place_of(const struct tq_end *end) {
    struct place place;
    place.family = end->family;
    memcpy(place.address, end->address, sizeof place.address);
    place.port = end->port;
    return place;
}

static struct line *between(const struct tq_end *local, const struct tq_end *remote) {
    struct place one = place_of(local), other = place_of(remote);
    struct line *line;
    look();
    for (line = lines; line; line = line->next)
        if (line->handle >= 0 && same(&line->here, &one) && same(&line->there, &other))
            return line;
    return NULL;
}

/* How many connections a listener has that nobody has accepted. The host has answered libslirp before there is a
 * SYN,ACK, so half-open ones are among them. */
static int queued(uint32_t listener) {
    const struct line *line;
    int count = 0;
    for (line = lines; line; line = line->next)
        count += line->listener == listener && !line->owner;
    return count;
}

/* libslirp connects to a port of the host, since a SYN has come. */
static struct line *dialled(int family, uint16_t port) {
    uint32_t number;
    for (number = 1; number <= sock_count; number++) {
        struct sock *sock = &socks[number - 1];
        struct line *line;
        if (sock->use != LISTENER || sock->here.family != family || sock->here.port != port)
            continue;
        if (queued(number) >= sock->backlog)
            return NULL;
        line = new_line((uint8_t)family);
        line->here = sock->here;
        line->listener = number;
        memcpy(line->there.address, guest, sizeof guest);
        return line;
    }
    return NULL;
}

/* ---- the pipe ---------------------------------------------------------------------------------------------------- */

static int address_of(const struct place *place, struct sockaddr_storage *address) {
    memset(address, 0, sizeof *address);
    if (place->family == 4) {
        struct sockaddr_in *four = (struct sockaddr_in *)address;
        four->sin_family = AF_INET;
        memcpy(&four->sin_addr, place->address, 4);
        four->sin_port = htons(place->port);
        return sizeof *four;
    } else {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
        six->sin6_family = AF_INET6;
        memcpy(&six->sin6_addr, place->address, 16);
        six->sin6_port = htons(place->port);
        return sizeof *six;
    }
}

/* Has libslirp listen on the host for connections that go on to this place of the guest's, if one waits for it: its
 * SYN is sent at once. `stays` keeps the port, which keeps libslirp's half seconds running. */
static int forward(struct line *line, const struct place *to, int stays) {
    static uint16_t port;
    struct sockaddr_storage from, guests;
    struct place loopback = {.family = to->family};
    int size, guest_size;
    if (to->family == 4)
        loopback.address[0] = 127, loopback.address[3] = 1;
    else
        loopback.address[15] = 1;
    loopback.port = ++port ? port : ++port;
    size = address_of(&loopback, &from);
    guest_size = address_of(to, &guests);
    host_expect(line);
    if (slirp_add_hostxfwd(slirp, (struct sockaddr *)&from, (socklen_t)size, (struct sockaddr *)&guests,
                           (socklen_t)guest_size, 0))
        return -1;
    fill();
    pump();
    return stays ? 0 : slirp_remove_hostxfwd(slirp, (struct sockaddr *)&from, (socklen_t)size, 0);
}

static void begin(const struct tq_greeting *greeting) {
    SlirpConfig config;
    struct place nobody = {.family = 4, .port = 1};
    uint32_t mask = htonl(~0u << (32 - greeting->ipv4_prefix));
    uint32_t address;
    memset(&config, 0, sizeof config);
    memcpy(&address, greeting->ipv4, 4);
    config.version = 4;
    config.in_enabled = config.in6_enabled = true;
    config.vnetwork.s_addr = address & mask;
    config.vnetmask.s_addr = mask;
    config.vhost.s_addr = address;
    config.vnameserver.s_addr = config.vdhcp_start.s_addr = 0;
    memcpy(&config.vprefix_addr6, greeting->ipv6, 16);
    memset((uint8_t *)&config.vprefix_addr6 + greeting->ipv6_prefix / 8, 0, 16 - greeting->ipv6_prefix / 8u);
    config.vprefix_len = greeting->ipv6_prefix;
    memcpy(&config.vhost6, greeting->ipv6, 16);
    config.if_mtu = config.if_mru = MTU;
    config.disable_dns = config.disable_dhcp = true;
    host_dialled = dialled;
    slirp = slirp_new(&config, &callbacks, NULL);
    memcpy(nobody.address, greeting->ipv4_gateway, 4);
    if (!slirp || forward(NULL, &nobody, 1))
        abort();
}

static void packet(uint64_t now, const uint8_t *octets, size_t size) {
    (void)now;
    memset(guest, 0, sizeof guest);
    if (size >= 34 && octets[12] == 0x08 && octets[13] == 0x00)
        memcpy(guest, octets + 26, 4);
    else if (size >= 54 && octets[12] == 0x86 && octets[13] == 0xdd)
        memcpy(guest, octets + 22, 16);
    host_because = "ECONNREFUSED";
    slirp_input(slirp, octets, (int)size);
    pump();
    if (lines && line_count < FEW_LINES)
        look(); /* a handshake is seen to be over before the connection ends */
    sweep();
}

/* ---- socket commands --------------------------------------------------------------------------------------------- */

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

static const char *make(int family, uint32_t *made) {
    if (family != 4 && family != 6)
        return "EPROTO";
    new_sock(made)->use = NEW;
    return NULL;
}

/* libslirp never waits with small segments, and has no other option that an application could reach. */
static const char *option(uint32_t number, const char *name, int64_t value) {
    if (!sock_of(number))
        return "EBADF";
    return !strcmp(name, "TCP_NODELAY") && value ? NULL : "ENOPROTOOPT";
}

static const char *listen_(uint32_t number, const struct tq_end *local, int backlog) {
    struct sock *sock = sock_of(number);
    struct place place = place_of(local);
    uint32_t other;
    if (!sock)
        return "EBADF";
    if (sock->use != NEW)
        return "EINVAL";
    for (other = 0; other < sock_count; other++)
        if (socks[other].use == LISTENER && same(&socks[other].here, &place))
            return "EADDRINUSE";
    sock->use = LISTENER;
    sock->here = place;
    sock->backlog = backlog;
    return NULL;
}

static const char *listening(const struct tq_end *local, int *listens) {
    struct place place = place_of(local);
    uint32_t number;
    *listens = 0;
    for (number = 0; number < sock_count; number++)
        *listens |= socks[number].use == LISTENER && same(&socks[number].here, &place);
    return NULL;
}

static const char *connect_(uint32_t number, const struct tq_end *local, const struct tq_end *remote) {
    struct sock *sock = sock_of(number);
    struct line *line;
    if (!sock)
        return "EBADF";
    if (sock->use != NEW)
        return "EISCONN";
    if (between(local, remote))
        return "EBUSY"; /* not EADDRINUSE: it may be an attempt that was aborted, of which libslirp does not hear */
    line = new_line(local->family);
    line->here = place_of(local);
    line->there = place_of(remote);
    line->owner = number;
    sock->use = CONNECTION;
    sock->line = line;
    return forward(line, &line->there, 0) || (line->handle < 0 && !line->ended) ? "ENETUNREACH" : NULL;
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
static const char *connected(uint32_t number) {
    struct line *line = line_of(number);
    if (!line)
        return no_line(number);
    look();
    return line->established ? NULL : line->handle < 0 ? line->why : "EAGAIN";
}

static const char *accept_(uint32_t number, uint32_t *made) {
    struct sock *sock = sock_of(number);
    struct line *line;
    if (!sock || sock->use != LISTENER)
        return sock ? "EINVAL" : "EBADF";
    look();
    for (line = lines; line; line = line->next)
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

static const char *send_(uint32_t number, int urgent, const uint8_t *octets, size_t size, uint32_t *taken) {
    struct line *line = line_of(number);
    if (!line)
        return no_line(number);
    if (line->write_closed || line->closed || line->handle < 0)
        return "EPIPE";
    line->out = octets;
    line->out_left = size;
    line->urgent = urgent;
    pump();
    *taken = (uint32_t)(size - line->out_left);
    line->out_left = 0;
    line->urgent = 0;
    return NULL;
}

static const char *recv_(uint32_t number, uint8_t *octets, size_t wanted, size_t *size) {
    struct line *line = line_of(number);
    if (!line)
        return no_line(number);
    if (line->got_size < wanted && line->handle >= 0) {
        line->wanted = wanted - line->got_size;
        pump();
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

static const char *shutdown_(uint32_t number, int half) {
    struct line *line = line_of(number);
    if (!line || line->handle < 0)
        return line ? "ENOTCONN" : no_line(number);
    line->read_closed |= half & 1;
    line->write_closed |= half >> 1 & 1;
    pump();
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
    for (line = lines; line; line = line->next)
        if (line->listener == number && !line->owner) {
            line->listener = 0;
            leave(line, 1);
        }
}

/* As the host's kernel does it: who closes with octets unread, or without lingering, resets; else it is the end. */
static const char *close_(uint32_t number, int32_t linger_s) {
    struct sock *sock = sock_of(number);
    struct line *line = line_of(number);
    if (!sock)
        return "EBADF";
    if (sock->use == LISTENER)
        stop_listening(number);
    if (line) {
        look();
        leave(line, linger_s == 0 || line->unread > 0 || line->got_size > 0);
    }
    pump();
    return NULL;
}

static const char *abort_(uint32_t number) {
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
    pump();
    sweep();
    return NULL;
}

static const char *state(const struct tq_end *local, const struct tq_end *remote, const char **found) {
    struct line *line = between(local, remote);
    *found = names[line ? line->state : CLOSED];
    return NULL;
}

static const char *half_open(uint16_t port, uint32_t *count) {
    struct line *line;
    look();
    *count = 0;
    for (line = lines; line; line = line->next)
        *count += line->here.port == port && line->state == SYN_RECEIVED;
    return NULL;
}

int main(void) {
    static const uint8_t mac[6] = {0x52, 0x55, 192, 0, 2, 1}; /* libslirp looks at no destination */
    struct tq_stack stack = {
        .name = "libslirp", .version = slirp_version_string(), .mtu = MTU, .ipv4 = 1, .ipv6 = 1, .mac = mac,
        .begin = begin, .packet = packet, .run = run, .deadline = deadline, .woken = woken, .socket = make,
        .option = option, .listen = listen_, .connect = connect_, .connected = connected, .accept = accept_,
        .send = send_, .recv = recv_, .shutdown = shutdown_, .close = close_, .abort = abort_, .state = state,
        .listening = listening, .half_open = half_open};
    return tq_serve(&stack);
}
