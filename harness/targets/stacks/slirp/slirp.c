/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libslirp behind tcpqual's pipe. Its guest is the injector; the host behind it is host.c. So a SYN of the injector to
 * the host's address is a passive open, a connection of the host's to a forwarded port an active one, and what an
 * application of the host hears of its connections is what libslirp tells its sockets: octets and their end. Those
 * connections are in lines.c, the application in sockets.c.
 *
 * libslirp polls its timers. It is polled here at each half second, and 2 ms after it has put off an acknowledgement.
 */
#define _POSIX_C_SOURCE 200809L
#include "adapter.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tcpqual_pipe.h" /* it may be included in one file alone */

#define MILLISECOND 1000000u
#define EPOCH (1000u * MILLISECOND) /* libslirp takes an instant of 0 for none */
#define SLOW (500u * MILLISECOND)
#define FAST 2u
#define MTU 1500
#define MOST_ROUNDS 100000
#define FEW_LINES 64

Slirp *nat;
uint8_t nat_guest[16];
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
    slirp_pollfds_fill(nat, &timeout_ms, add_poll, NULL);
    return timeout_ms;
}

void nat_pump(void) {
    uint32_t timeout_ms;
    int rounds = 0;
    do {
        slirp_pollfds_poll(nat, 0, ready, NULL);
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
    nat_pump();
}

static int woken(void) {
    int changed = host_changed;
    host_changed = 0;
    return changed;
}

/* ---- the pipe ---------------------------------------------------------------------------------------------------- */

struct place place_of(const struct tq_end *end) {
    struct place place;
    place.family = end->family;
    memcpy(place.address, end->address, sizeof place.address);
    place.port = end->port;
    return place;
}

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

int nat_forward(struct line *line, const struct place *to, int stays) {
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
    if (slirp_add_hostxfwd(nat, (struct sockaddr *)&from, (socklen_t)size, (struct sockaddr *)&guests,
                           (socklen_t)guest_size, 0))
        return -1;
    fill();
    nat_pump();
    return stays ? 0 : slirp_remove_hostxfwd(nat, (struct sockaddr *)&from, (socklen_t)size, 0);
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
    host_dialled = sock_dialled;
    nat = slirp_new(&config, &callbacks, NULL);
    memcpy(nobody.address, greeting->ipv4_gateway, 4);
    if (!nat || nat_forward(NULL, &nobody, 1))
        abort();
}

static void packet(uint64_t now, const uint8_t *octets, size_t size) {
    (void)now;
    memset(nat_guest, 0, sizeof nat_guest);
    if (size >= 34 && octets[12] == 0x08 && octets[13] == 0x00)
        memcpy(nat_guest, octets + 26, 4);
    else if (size >= 54 && octets[12] == 0x86 && octets[13] == 0xdd)
        memcpy(nat_guest, octets + 22, 16);
    host_because = "ECONNREFUSED";
    slirp_input(nat, octets, (int)size);
    nat_pump();
    if (line_first && line_count < FEW_LINES)
        line_look(); /* a handshake is seen to be over before the connection ends */
    line_sweep();
}

int main(void) {
    static const uint8_t mac[6] = {0x52, 0x55, 192, 0, 2, 1}; /* libslirp looks at no destination */
    struct tq_stack stack = {
        .name = "libslirp", .version = slirp_version_string(), .mtu = MTU, .ipv4 = 1, .ipv6 = 1, .mac = mac,
        .begin = begin, .packet = packet, .run = run, .deadline = deadline, .woken = woken,
        .socket = sock_make, .option = sock_option, .listen = sock_listen, .connect = sock_connect,
        .connected = sock_connected, .accept = sock_accept, .send = sock_send, .recv = sock_recv,
        .shutdown = sock_shutdown, .close = sock_close, .abort = sock_abort, .state = sock_state,
        .listening = sock_listening, .half_open = sock_half_open};
    return tq_serve(&stack);
}
