/* SPDX-License-Identifier: 0BSD
 *
 * Puts a TCP stack behind tcpqual's pipe protocol: fill in a struct tq_stack and call tq_serve.
 *
 * One header, C99, nothing but the C library and POSIX read, write, dup. Include it in one file of your program. The
 * protocol is described octet by octet in docs/reference/pipe-protocol.md of tcpqual.
 *
 * Every stack has `packet` and `state`. A command whose function is NULL is one that your stack does not offer, and the
 * cases that need it are left out. A function returns NULL for success, or the errno name that an application would be
 * told: "ECONNREFUSED"; and "EAGAIN" where a socket would have to wait: you will be asked again. Sockets are numbers of
 * your own choice, but not 0.
 *
 * Standard output belongs to the protocol: tq_serve points descriptor 1 at standard error, so printf does no harm.
 */
#ifndef TCPQUAL_PIPE_H
#define TCPQUAL_PIPE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TQ_VERSION 1
#define TQ_NEVER UINT64_MAX
#define TQ_LONGEST (1u << 20)

/* Where on the link the stack stands, and the seed from which all its random numbers have to come. */
struct tq_greeting {
    uint16_t version;
    uint64_t seed;
    uint8_t ipv4[4], ipv4_prefix, ipv4_gateway[4];
    uint8_t ipv6[16], ipv6_prefix, ipv6_gateway[16];
};

/* An address, of 4 octets if family is 4 and of 16 if it is 6, and a port. */
struct tq_end {
    uint8_t family;
    uint8_t address[16];
    uint16_t port;
};

/* Your stack. Instants are nanoseconds since the process began, and come from tcpqual alone: use no other clock. */
struct tq_stack {
    const char *name, *version;
    const char *features; /* names of a profile's [features], with blanks between; NULL leaves them to the profile */
    uint16_t mtu;
    int ipv4, ipv6;         /* which of them it speaks */
    const uint8_t *mac;     /* six octets: packets are whole Ethernet frames; NULL: packets are IP packets */

    void (*begin)(const struct tq_greeting *greeting);            /* once, before everything else; or NULL */
    void (*packet)(uint64_t now, const uint8_t *octets, size_t size); /* a packet has arrived */
    void (*run)(uint64_t now);                                    /* do all that is due by now; or NULL */
    uint64_t (*deadline)(void);                                   /* when to run next, TQ_NEVER; or NULL */
    int (*woken)(void); /* could a call that was told EAGAIN have an answer now? NULL: after every run */

    /* The socket commands, in the order of their numbers. */
    const char *(*socket)(int family, uint32_t *made);
    const char *(*option)(uint32_t socket, const char *name, int64_t value); /* ENOPROTOOPT if unknown */
    const char *(*listen)(uint32_t socket, const struct tq_end *local, int backlog);
    const char *(*connect)(uint32_t socket, const struct tq_end *local, const struct tq_end *remote);
    const char *(*connected)(uint32_t socket);
    const char *(*accept)(uint32_t socket, uint32_t *made);
    const char *(*send)(uint32_t socket, int urgent, const uint8_t *octets, size_t size, uint32_t *taken);
    const char *(*recv)(uint32_t socket, uint8_t *octets, size_t room, size_t *size); /* size 0: end of stream */
    const char *(*shutdown)(uint32_t socket, int half);          /* 1 reading, 2 writing, 3 both */
    const char *(*close)(uint32_t socket, int32_t linger_s);     /* -1: no linger time */
    const char *(*closed)(uint32_t socket);
    const char *(*abort)(uint32_t socket);                       /* the number is free afterwards */
    const char *(*error)(uint32_t socket, const char **pending); /* the errno name that waits, "" for none */
    const char *(*state)(const struct tq_end *local, const struct tq_end *remote, const char **state);
    const char *(*listening)(const struct tq_end *local, int *listens);
    const char *(*half_open)(uint16_t port, uint32_t *count);
    const char *(*information)(uint32_t socket, char *text, size_t room); /* "rto_us=1000000 send_mss=1460" */
};

/* Call this to send a packet, from anything that tcpqual has called. */
static void tq_send_packet(const void *octets, size_t size);

/* The instant that it is, which is where your stack has to read the time: it goes on between the calls of `run`, too. */
static inline uint64_t tq_now(void);

/* Answers requests until there are no more; returns 0, or 1 if one was not understood. */
static int tq_serve(const struct tq_stack *stack);

/* ---- what follows is how it is done --------------------------------------------------------------------------- */

static struct {
    FILE *sink;
    const struct tq_stack *stack;
    uint64_t now;
    unsigned sent;
    const uint8_t *at, *end; /* what is left of the request */
    int cut_off;
    uint8_t request[TQ_LONGEST], answer[TQ_LONGEST];
} tq;

static inline uint64_t tq_now(void) {
    return tq.now;
}

static void tq_put(uint64_t value, int size) {
    while (size-- > 0)
        putc((int)(value >> (8 * size) & 0xff), tq.sink);
}

static void tq_put_text(const char *text) {
    size_t size = text ? strlen(text) : 0;
    tq_put(size, 2);
    fwrite(text ? text : "", 1, size, tq.sink);
}

static void tq_head(int type, size_t size) {
    tq_put(size + 1, 4);
    putc(type, tq.sink);
}

static uint64_t tq_get(int size) {
    uint64_t value = 0;
    for (; size > 0; size--) {
        if (tq.at == tq.end) {
            tq.cut_off = 1;
            return 0;
        }
        value = value << 8 | *tq.at++;
    }
    return value;
}

static void tq_get_octets(uint8_t *octets, int size) {
    while (size-- > 0)
        *octets++ = (uint8_t)tq_get(1);
}

static struct tq_end tq_get_end(void) {
    struct tq_end end;
    memset(&end, 0, sizeof end);
    end.family = (uint8_t)tq_get(1);
    tq_get_octets(end.address, end.family == 4 ? 4 : 16);
    end.port = (uint16_t)tq_get(2);
    return end;
}

static void tq_send_packet(const void *octets, size_t size) {
    tq_head('P', size);
    fwrite(octets, 1, size, tq.sink);
    tq.sent++;
}

static uint64_t tq_deadline(void) {
    return tq.stack->deadline ? tq.stack->deadline() : TQ_NEVER;
}

static void tq_settle(void) {
    while (tq.stack->run && tq_deadline() <= tq.now)
        tq.stack->run(tq.now);
}

static void tq_done(void) {
    tq_settle();
    tq_head('D', 16);
    tq_put(tq.now, 8);
    tq_put(tq_deadline(), 8);
}

/* Time passes from timer to timer, up to the first that says something. */
static void tq_advance(uint64_t until) {
    tq.sent = 0;
    while (tq.sent == 0) {
        uint64_t due = tq_deadline();
        if (due > until) {
            tq.now = until;
            return;
        }
        tq.now = due > tq.now ? due : tq.now;
        if (tq.stack->run)
            tq.stack->run(tq.now); /* who counts ticks may name the next one as soon as it is this one */
        tq_settle();
        if (!tq.stack->woken || tq.stack->woken())
            return;
    }
}

static void tq_hello(void) {
    const struct tq_stack *s = tq.stack;
    const int offered[] = {
        s->socket != 0, s->option != 0, s->listen != 0, s->connect != 0, s->connected != 0, s->accept != 0,
        s->send != 0, s->recv != 0, s->shutdown != 0, s->close != 0, s->closed != 0, s->abort != 0, s->error != 0,
        s->state != 0, s->listening != 0, s->half_open != 0, s->information != 0};
    static const uint8_t no_mac[6];
    uint32_t commands = 0;
    struct tq_greeting greeting;
    size_t i;
    greeting.version = (uint16_t)tq_get(2);
    greeting.seed = tq_get(8);
    tq_get_octets(greeting.ipv4, 4);
    greeting.ipv4_prefix = (uint8_t)tq_get(1);
    tq_get_octets(greeting.ipv4_gateway, 4);
    tq_get_octets(greeting.ipv6, 16);
    greeting.ipv6_prefix = (uint8_t)tq_get(1);
    tq_get_octets(greeting.ipv6_gateway, 16);
    for (i = 0; i < sizeof offered / sizeof *offered; i++)
        commands |= (uint32_t)offered[i] << i;
    tq_head('H', 15 + 6 + strlen(s->name) + strlen(s->version) + (s->features ? strlen(s->features) : 0));
    tq_put(TQ_VERSION, 2);
    tq_put((s->ipv4 ? 1 : 0) | (s->ipv6 ? 2 : 0) | (s->mac ? 4 : 0), 1);
    tq_put(s->mtu, 2);
    tq_put(commands, 4);
    fwrite(s->mac ? s->mac : no_mac, 1, 6, tq.sink);
    tq_put_text(s->name);
    tq_put_text(s->version);
    tq_put_text(s->features);
    if (s->begin)
        s->begin(&greeting);
}

/* Does what a command asks; the value of its result goes into tq.answer. */
static const char *tq_command(size_t *size) {
    const struct tq_stack *s = tq.stack;
    int op = (int)tq_get(1);
    uint32_t socket = (uint32_t)tq_get(4), number = 0;
    struct tq_end local, remote;
    const char *error = "ENOSYS", *text = "";
    int numbers = 0, flag = 0;
    if (op == 1 && s->socket) {
        numbers = 4;
        error = s->socket((int)tq_get(1), &number);
    } else if (op == 2 && s->option) {
        int64_t value = (int64_t)tq_get(8);
        size_t length = (size_t)tq_get(2);
        char name[64] = "";
        if (length < sizeof name)
            tq_get_octets((uint8_t *)name, (int)length);
        error = s->option(socket, name, value);
    } else if (op == 3 && s->listen) {
        local = tq_get_end();
        error = s->listen(socket, &local, (int)tq_get(2));
    } else if (op == 4 && s->connect) {
        local = tq_get_end();
        remote = tq_get_end();
        error = s->connect(socket, &local, &remote);
    } else if (op == 5 && s->connected) {
        error = s->connected(socket);
    } else if (op == 6 && s->accept) {
        numbers = 4;
        error = s->accept(socket, &number);
    } else if (op == 7 && s->send) {
        numbers = 4;
        flag = (int)tq_get(1);
        error = s->send(socket, flag, tq.at, (size_t)(tq.end - tq.at), &number);
    } else if (op == 8 && s->recv) {
        size_t room = (size_t)tq_get(4), most = sizeof tq.answer - 16;
        error = s->recv(socket, tq.answer, room < most ? room : most, size);
    } else if (op == 9 && s->shutdown) {
        error = s->shutdown(socket, (int)tq_get(1));
    } else if (op == 10 && s->close) {
        error = s->close(socket, (int32_t)(uint32_t)tq_get(4));
    } else if (op == 11 && s->closed) {
        error = s->closed(socket);
    } else if (op == 12 && s->abort) {
        error = s->abort(socket);
    } else if (op == 13 && s->error) {
        error = s->error(socket, &text);
    } else if (op == 14 && s->state) {
        local = tq_get_end();
        remote = tq_get_end();
        error = s->state(&local, &remote, &text);
    } else if (op == 15 && s->listening) {
        numbers = 1;
        local = tq_get_end();
        error = s->listening(&local, &flag);
        number = flag != 0;
    } else if (op == 16 && s->half_open) {
        numbers = 4;
        error = s->half_open((uint16_t)tq_get(2), &number);
    } else if (op == 17 && s->information) {
        char *room = (char *)tq.answer + 2;
        *room = 0;
        error = s->information(socket, room, 4096);
        text = room;
    }
    for (; numbers > 0; numbers--)
        tq.answer[(*size)++] = (uint8_t)(number >> (8 * (numbers - 1)));
    if (op == 13 || op == 14 || op == 17) {
        size_t length = strlen(text);
        memmove(tq.answer + 2, text, length);
        tq.answer[0] = (uint8_t)(length >> 8);
        tq.answer[1] = (uint8_t)length;
        *size = length + 2;
    }
    return error;
}

static void tq_result(void) {
    size_t size = 0;
    const char *error = tq_command(&size);
    if (error)
        size = 0;
    tq_head('R', 2 + (error ? strlen(error) : 0) + size);
    tq_put_text(error);
    fwrite(tq.answer, 1, size, tq.sink);
}

/* Reads so many octets of standard input; what was answered goes out before it waits. Returns 0 at its end. */
static int tq_read(uint8_t *octets, size_t size) {
    static uint8_t buffer[1 << 16];
    static size_t at, filled;
    while (size > 0) {
        if (at == filled) {
            ssize_t got;
            fflush(tq.sink);
            got = read(0, buffer, sizeof buffer);
            if (got <= 0)
                return 0;
            at = 0;
            filled = (size_t)got;
        }
        *octets++ = buffer[at++];
        size--;
    }
    return 1;
}

static int tq_serve(const struct tq_stack *stack) {
    uint8_t head[5];
    tq.stack = stack;
    tq.sink = fdopen(dup(1), "wb");
    if (!tq.sink || dup2(2, 1) < 0)
        return 1;
    while (tq_read(head, 5)) {
        size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        if (size == 0 || size > sizeof tq.request || !tq_read(tq.request, size - 1))
            return 1;
        tq.at = tq.request;
        tq.end = tq.request + size - 1;
        if (head[4] == 'H')
            tq_hello();
        else if (head[4] == 'P')
            stack->packet(tq.now, tq.request, size - 1);
        else if (head[4] == 'A')
            tq_advance(tq_get(8));
        else if (head[4] == 'C')
            tq_result();
        else
            return 1;
        if (tq.cut_off)
            return 1;
        tq_done();
    }
    return 0;
}

#endif
