/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * No TCP: a stack whose socket commands answer with what they were asked, so that every field of the C kit is seen to
 * arrive and to go back. What is wrong ends it.
 */
#define _POSIX_C_SOURCE 200809L
#include <assert.h>

#include "tcpqual_pipe.h"

static const uint8_t ipv4[4] = {192, 0, 2, 1}, peer[4] = {192, 0, 2, 2};
static uint64_t seed, ticks;
static int waits = 2;

static void begin(const struct tq_greeting *g) {
    assert(g->version == 1 && g->ipv4_prefix == 24 && g->ipv6_prefix == 64);
    assert(!memcmp(g->ipv4, ipv4, 4) && !memcmp(g->ipv4_gateway, peer, 4));
    assert(g->ipv6[0] == 0x20 && g->ipv6[15] == 1 && g->ipv6_gateway[15] == 2);
    seed = g->seed;
}

static void packet(uint64_t now, const uint8_t *octets, size_t size) {
    (void)now;
    tq_send_packet(octets, size);
}

/* A tick each second; the third sends a packet. */
static uint64_t deadline(void) { return (ticks + 1) * 1000000000u; }
static void run(uint64_t now) {
    assert(now == deadline() && tq_now() == now);
    if (++ticks == 3)
        tq_send_packet("tick", 4);
}
static int woken(void) { return ticks == 5; }

static const char *make(int family, uint32_t *made) { return *made = (uint32_t)(family == 4 ? 44 : 66), NULL; }
static const char *set(uint32_t socket, const char *name, int64_t value) {
    return socket == 44 && !strcmp(name, "SO_RCVBUF") && value == -2 ? NULL : "ENOPROTOOPT";
}
static const char *listen_(uint32_t socket, const struct tq_end *local, int backlog) {
    assert(socket == 66 && local->family == 6 && local->address[15] == 1 && local->port == 7777);
    return backlog == 300 ? NULL : "EADDRINUSE";
}
static const char *connect_(uint32_t socket, const struct tq_end *local, const struct tq_end *remote) {
    assert(socket == 44 && !memcmp(local->address, ipv4, 4) && !memcmp(remote->address, peer, 4));
    assert(local->port == 1000 && remote->port == 2000);
    return NULL;
}
static const char *connected(uint32_t socket) { return assert(socket == 44), waits-- > 0 ? "EAGAIN" : "ECONNREFUSED"; }
static const char *accept_(uint32_t socket, uint32_t *made) { return *made = socket + 1, NULL; }
static const char *send_(uint32_t socket, int urgent, const uint8_t *octets, size_t size, uint32_t *taken) {
    assert(socket == 44 && size == 70000 && octets[0] == 'x' && octets[69999] == 'y');
    *taken = urgent ? 0x01020304 - 0x01000000 : 3;
    return *taken > size ? "EMSGSIZE" : NULL;
}
static const char *recv_(uint32_t socket, uint8_t *octets, size_t room, size_t *size) {
    assert(socket == 44);
    memset(octets, 'r', room);
    *size = room == 1 ? 0 : room;
    return NULL;
}
static const char *shutdown_(uint32_t socket, int half) { return socket == 44 && half == 2 ? NULL : "ENOTCONN"; }
static const char *close_(uint32_t socket, int32_t linger_s) { return (void)socket, linger_s == -1 ? NULL : "EAGAIN"; }
static const char *closed(uint32_t socket) { return (void)socket, "ETIMEDOUT"; }
static const char *abort_(uint32_t socket) { return (void)socket, NULL; }
static const char *error(uint32_t socket, const char **pending) { return (void)socket, *pending = "EPIPE", NULL; }
static const char *state(const struct tq_end *local, const struct tq_end *remote, const char **found) {
    return *found = local->port == 1000 && remote->port == 2000 ? "CLOSE-WAIT" : "CLOSED", NULL;
}
static const char *listening(const struct tq_end *local, int *listens) { return *listens = local->port == 80, NULL; }
static const char *half_open(uint16_t port, uint32_t *count) { return *count = port * 2u, NULL; }
static const char *information(uint32_t socket, char *text, size_t room) {
    return snprintf(text, room, "socket=%u seed=%llu", (unsigned)socket, (unsigned long long)seed), NULL;
}

int main(void) {
    struct tq_stack stack = {
        "sockets", "0.1", NULL, 1280, 1, 1, NULL, begin, packet, run, deadline, woken, make, set, listen_, connect_,
        connected, accept_, send_, recv_, shutdown_, close_, closed, abort_, error, state, listening, half_open,
        information};
    return tq_serve(&stack);
}
