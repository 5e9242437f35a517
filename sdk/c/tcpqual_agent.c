/* SPDX-License-Identifier: 0BSD
 *
 * tcpqual's agent: runs on a device whose TCP is to be qualified, and makes sockets there as tcpqual says.
 *
 *     tcpqual_agent --listen ADDRESS:PORT --key FILE     over a TCP connection, to those who know the key
 *     tcpqual_agent --stdio [--key FILE]                 over standard input and output (ssh, a pair of sockets)
 *     tcpqual_agent --device /dev/... [--key FILE]       over a character device (virtio-serial, a serial line)
 *
 * One file, C99 and BSD sockets: `cc -O2 -o tcpqual_agent tcpqual_agent.c`, and -static where it is carried elsewhere.
 * It starts no other program, keeps no file, and listens on one address. One harness at a time is served; the next one
 * ends what the one before has left. The protocol is described octet by octet in docs/reference/agent-protocol.md.
 *
 * On Linux it also tells the state of connections, counts half-open ones and tells a connection's variables; elsewhere
 * it says that it does not, and the cases that need it are left out.
 */
#if defined(__linux__)
#define _GNU_SOURCE
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE
#elif defined(__sun)
#define __EXTENSIONS__
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define VERSION 1
#define NAME "tcpqual-agent (C)"
#define RELEASE "1.0"

#ifndef LONGEST
#define LONGEST (1u << 20) /* the greatest length of a message; a small device may do with less, but not below 4096 */
#endif
#ifndef SOCKETS
#define SOCKETS 1024 /* so many sockets at a time */
#endif
#define CLIENTS 5      /* the one that is served, and those that have not proven yet that they know the key */
#define SHORT 256      /* the greatest length of a message before that */
#define LIMIT_MS 10000 /* for a handshake, and for the rest of a message that has begun */
#define RETRY_MS 100   /* how often a device is tried whose other end is closed */
#define LEAST_KEY 16

static const uint8_t MAGIC[13] = {'t', 'c', 'p', 'q', 'u', 'a', 'l', ' ', 'a', 'g', 'e', 'n', 't'};

enum { SOCKET = 1, OPTION, LISTEN, CONNECT, CONNECTED, ACCEPT, SEND, RECV, SHUTDOWN, CLOSE, CLOSED, ABORT, ERROR, STATE,
       LISTENING, HALF_OPEN, INFORMATION, COMMANDS = INFORMATION };

#define BIT(op) (1u << ((op) - 1))

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void die(const char *what, const char *why) {
    fprintf(stderr, "tcpqual_agent: %s: %s\n", what, why);
    exit(2);
}

/* ---- SHA-256 (FIPS 180-4) and HMAC (RFC 2104) ------------------------------------------------------------------- */

struct sha {
    uint32_t state[8];
    uint64_t size;
    uint8_t block[64];
};

static uint32_t rotated(uint32_t x, int by) {
    return x >> by | x << (32 - by);
}

static void sha_block(struct sha *sha, const uint8_t *octets) {
    static const uint32_t K[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64], s[8];
    int i;
    for (i = 0; i < 16; i++)
        w[i] = (uint32_t)octets[4 * i] << 24 | (uint32_t)octets[4 * i + 1] << 16 | (uint32_t)octets[4 * i + 2] << 8 |
               octets[4 * i + 3];
    for (; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, sha->state, sizeof s);
    for (i = 0; i < 64; i++) {
        uint32_t one = s[7] + (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25)) +
                       ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
        uint32_t two = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) +
                       ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (i = 0; i < 8; i++)
        sha->state[i] += s[i];
}

static void sha_begin(struct sha *sha) {
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, first, sizeof first);
    sha->size = 0;
}

static void sha_add(struct sha *sha, const uint8_t *octets, size_t size) {
    while (size-- > 0) {
        sha->block[sha->size++ % 64] = *octets++;
        if (sha->size % 64 == 0)
            sha_block(sha, sha->block);
    }
}

static void sha_end(struct sha *sha, uint8_t digest[32]) {
    static const uint8_t one = 0x80, zero = 0;
    uint64_t bits = sha->size * 8;
    uint8_t length[8];
    int i;
    sha_add(sha, &one, 1);
    while (sha->size % 64 != 56)
        sha_add(sha, &zero, 1);
    for (i = 0; i < 8; i++)
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    sha_add(sha, length, 8);
    for (i = 0; i < 32; i++)
        digest[i] = (uint8_t)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
}

static uint8_t key[64]; /* padded with zeros, as HMAC wants it */
static int has_key;

static void hmac_begin(struct sha *sha, uint8_t pad) {
    uint8_t padded[64];
    int i;
    for (i = 0; i < 64; i++)
        padded[i] = key[i] ^ pad;
    sha_begin(sha);
    sha_add(sha, padded, 64);
}

static void hmac_end(struct sha *inner, uint8_t digest[32]) {
    struct sha outer;
    uint8_t within[32];
    sha_end(inner, within);
    hmac_begin(&outer, 0x5c);
    sha_add(&outer, within, 32);
    sha_end(&outer, digest);
}

/* In a time that does not tell where they differ. */
static int same(const uint8_t *one, const uint8_t *other, size_t size) {
    volatile uint8_t difference = 0;
    while (size-- > 0)
        difference |= *one++ ^ *other++;
    return difference == 0;
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

struct name {
    int number;
    const char *name;
};

#define N(number) {number, #number}

static const struct name ERRNO_NAMES[] = {
    N(EPERM), N(ENOENT), N(EINTR), N(EIO), N(ENXIO), N(E2BIG), N(EBADF), N(EAGAIN), N(ENOMEM), N(EACCES), N(EFAULT),
    N(EBUSY), N(EEXIST), N(ENODEV), N(EINVAL), N(ENFILE), N(EMFILE), N(ENOSPC), N(EPIPE), N(EDOM), N(ERANGE),
    N(ENOSYS), N(ENOTSOCK), N(EDESTADDRREQ), N(EMSGSIZE), N(EPROTOTYPE), N(ENOPROTOOPT), N(EPROTONOSUPPORT),
    N(EOPNOTSUPP), N(EAFNOSUPPORT), N(EADDRINUSE), N(EADDRNOTAVAIL), N(ENETDOWN), N(ENETUNREACH), N(ENETRESET),
    N(ECONNABORTED), N(ECONNRESET), N(ENOBUFS), N(EISCONN), N(ENOTCONN), N(ETIMEDOUT), N(ECONNREFUSED),
    N(EHOSTUNREACH), N(EALREADY), N(EINPROGRESS), N(ECANCELED), N(EOVERFLOW),
#ifdef EPROTO
    N(EPROTO),
#endif
#ifdef ESHUTDOWN
    N(ESHUTDOWN),
#endif
#ifdef EHOSTDOWN
    N(EHOSTDOWN),
#endif
#ifdef EPFNOSUPPORT
    N(EPFNOSUPPORT),
#endif
#ifdef ESOCKTNOSUPPORT
    N(ESOCKTNOSUPPORT),
#endif
#ifdef ENONET
    N(ENONET),
#endif
};

static const char *errno_name(int number) {
    static char other[16];
    size_t i;
    for (i = 0; i < sizeof ERRNO_NAMES / sizeof *ERRNO_NAMES; i++)
        if (ERRNO_NAMES[i].number == number)
            return ERRNO_NAMES[i].name;
    snprintf(other, sizeof other, "E%d", number);
    return other;
}

static const struct option {
    int level, number;
    const char *name;
} OPTIONS[] = {
#define O(level, number) {level, number, #number}
    O(SOL_SOCKET, SO_KEEPALIVE), O(SOL_SOCKET, SO_RCVBUF), O(SOL_SOCKET, SO_SNDBUF), O(SOL_SOCKET, SO_REUSEADDR),
    O(SOL_SOCKET, SO_OOBINLINE), O(SOL_SOCKET, SO_DONTROUTE), O(IPPROTO_TCP, TCP_NODELAY), O(IPPROTO_IP, IP_TTL),
    O(IPPROTO_IP, IP_TOS), O(IPPROTO_IPV6, IPV6_UNICAST_HOPS),
#ifdef SO_RCVLOWAT
    O(SOL_SOCKET, SO_RCVLOWAT),
#endif
#ifdef SO_SNDLOWAT
    O(SOL_SOCKET, SO_SNDLOWAT),
#endif
#ifdef SO_REUSEPORT
    O(SOL_SOCKET, SO_REUSEPORT),
#endif
#ifdef SO_PRIORITY
    O(SOL_SOCKET, SO_PRIORITY),
#endif
#ifdef SO_MARK
    O(SOL_SOCKET, SO_MARK),
#endif
#ifdef TCP_MAXSEG
    O(IPPROTO_TCP, TCP_MAXSEG),
#endif
#ifdef TCP_KEEPIDLE
    O(IPPROTO_TCP, TCP_KEEPIDLE),
#endif
#ifdef TCP_KEEPALIVE
    O(IPPROTO_TCP, TCP_KEEPALIVE),
#endif
#ifdef TCP_KEEPINTVL
    O(IPPROTO_TCP, TCP_KEEPINTVL),
#endif
#ifdef TCP_KEEPCNT
    O(IPPROTO_TCP, TCP_KEEPCNT),
#endif
#ifdef TCP_CORK
    O(IPPROTO_TCP, TCP_CORK),
#endif
#ifdef TCP_NOPUSH
    O(IPPROTO_TCP, TCP_NOPUSH),
#endif
#ifdef TCP_SYNCNT
    O(IPPROTO_TCP, TCP_SYNCNT),
#endif
#ifdef TCP_LINGER2
    O(IPPROTO_TCP, TCP_LINGER2),
#endif
#ifdef TCP_DEFER_ACCEPT
    O(IPPROTO_TCP, TCP_DEFER_ACCEPT),
#endif
#ifdef TCP_WINDOW_CLAMP
    O(IPPROTO_TCP, TCP_WINDOW_CLAMP),
#endif
#ifdef TCP_QUICKACK
    O(IPPROTO_TCP, TCP_QUICKACK),
#endif
#ifdef __linux__ /* by number, since a C library may be older than the kernel */
    {IPPROTO_TCP, 18, "TCP_USER_TIMEOUT"}, {IPPROTO_TCP, 23, "TCP_FASTOPEN"}, {IPPROTO_TCP, 25, "TCP_NOTSENT_LOWAT"},
    {IPPROTO_TCP, 30, "TCP_FASTOPEN_CONNECT"}, {IPPROTO_TCP, 36, "TCP_INQ"},
    {IPPROTO_IP, 10, "IP_MTU_DISCOVER"}, {IPPROTO_IP, 11, "IP_RECVERR"},
    {IPPROTO_IPV6, 23, "IPV6_MTU_DISCOVER"}, {IPPROTO_IPV6, 25, "IPV6_RECVERR"},
#endif
#ifdef IPV6_TCLASS
    O(IPPROTO_IPV6, IPV6_TCLASS),
#endif
#ifdef IPV6_V6ONLY
    O(IPPROTO_IPV6, IPV6_V6ONLY),
#endif
};

/* ---- the streams of those who drive ------------------------------------------------------------------------------- */

enum stage { FREE, NEW, GREETED, SERVED };

static struct client {
    enum stage stage;
    int in, out;
    int lasting;    /* a device: it cannot be closed, and what comes at first may be the rest of another's words */
    int lost;       /* a greeting is looked for */
    int told;       /* that one is missing */
    int ending;     /* what is still to be said is the last; 2: it has been said */
    int64_t until;  /* when the handshake, or the message that has begun, has to be over; 0: nothing has to */
    int64_t down;   /* the other end of the device is closed; tried again then */
    uint8_t *inbox, *outbox;
    size_t filled, room, queued, space;
    uint8_t theirs[32], ours[32];
} clients[CLIENTS];

static struct client *served; /* the one that has proven that it knows the key */
static int listener = -1;
static int lasts; /* as long as this process: standard input, a device */

static void put_number(uint8_t *at, uint64_t value, int size) {
    while (size-- > 0)
        *at++ = (uint8_t)(value >> (8 * size));
}

static uint64_t number(const uint8_t *at, int size) {
    uint64_t value = 0;
    while (size-- > 0)
        value = value << 8 | *at++;
    return value;
}

/* A message is one piece in the outbox, or not there at all. */
static void say(struct client *client, int type, const uint8_t *one, size_t size, const uint8_t *two, size_t more) {
    uint8_t *at;
    if (client->space - client->queued < 5 + size + more)
        return; /* only a word of farewell may find no room, see `has_room` */
    at = client->outbox + client->queued;
    put_number(at, 1 + size + more, 4);
    at[4] = (uint8_t)type;
    if (size)
        memcpy(at + 5, one, size);
    if (more)
        memcpy(at + 5 + size, two, more);
    client->queued += 5 + size + more;
}

/* Room for the longest answer: without it no request is read, and nobody is woken. */
static int has_room(const struct client *client) {
    return client->space - client->queued >= (client->stage == SERVED ? LONGEST + 64 : 192);
}

static int boxes(struct client *client, size_t room, size_t space) {
    uint8_t *inbox = realloc(client->inbox, room), *outbox;
    if (!inbox)
        return 0;
    client->inbox = inbox;
    outbox = realloc(client->outbox, space);
    if (!outbox)
        return 0;
    client->outbox = outbox;
    client->room = room;
    client->space = space;
    return 1;
}

static void end_session(void);

static void forget_client(struct client *client) {
    if (client == served)
        end_session();
    close(client->in);
    if (client->out != client->in)
        close(client->out);
    free(client->inbox);
    free(client->outbox);
    memset(client, 0, sizeof *client);
}

/* Says why, and listens no more: to a device until the next greeting. */
static void refuse(struct client *client, const char *why) {
    uint8_t size[2];
    if (client == served)
        end_session();
    put_number(size, strlen(why), 2);
    say(client, 'N', size, 2, (const uint8_t *)why, strlen(why));
    client->stage = NEW;
    client->until = 0;
    client->told = 1;
    if (client->lasting) {
        client->lost = 1;
    } else {
        client->ending = 1;
        client->until = now_ms() + LIMIT_MS;
    }
}

static struct client *new_client(int in, int out) {
    struct client *client = NULL;
    int i;
    for (i = 0; i < CLIENTS && !client; i++)
        if (clients[i].stage == FREE)
            client = &clients[i];
    for (i = 0; i < CLIENTS && !client; i++) /* the one that has been here longest without proving anything */
        if (&clients[i] != served)
            client = &clients[i];
    for (i = 0; i < CLIENTS; i++)
        if (&clients[i] != served && clients[i].stage != FREE && client->stage != FREE &&
            clients[i].until < client->until)
            client = &clients[i];
    if (client->stage != FREE)
        forget_client(client);
    client->stage = NEW;
    client->in = in;
    client->out = out;
    if (!boxes(client, 4 + SHORT, 1024)) {
        forget_client(client);
        return NULL;
    }
    return client;
}

/* ---- sockets ------------------------------------------------------------------------------------------------------ */

static struct slot {
    uint32_t number; /* 0: free */
    int fd;          /* -1: closed */
    int family;
    int connecting;
    unsigned waiting; /* the commands that were answered EAGAIN */
    int pair;         /* to the process that closes it with a linger time, -1 for none */
    pid_t pid;
    int failed;       /* the errno with which close ended */
} slots[SOCKETS];

static uint32_t numbers;
static uint32_t offered = BIT(SOCKET) | BIT(OPTION) | BIT(LISTEN) | BIT(CONNECT) | BIT(CONNECTED) | BIT(ACCEPT) |
                          BIT(SEND) | BIT(RECV) | BIT(SHUTDOWN) | BIT(CLOSE) | BIT(CLOSED) | BIT(ABORT) | BIT(ERROR);

static struct slot *find_slot(uint32_t wanted) {
    int i;
    for (i = 0; i < SOCKETS; i++)
        if (slots[i].number == wanted && wanted)
            return &slots[i];
    return NULL;
}

static struct slot *free_slot(void) {
    int i;
    for (i = 0; i < SOCKETS; i++)
        if (!slots[i].number)
            return &slots[i];
    return NULL;
}

static uint32_t new_slot(struct slot *slot, int fd, int family) {
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
    {
        int on = 1;
        setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
    }
#endif
    memset(slot, 0, sizeof *slot);
    slot->number = ++numbers;
    slot->fd = fd;
    slot->family = family;
    slot->pair = -1;
    return slot->number;
}

static void abort_slot(struct slot *slot) {
    if (slot->fd >= 0) {
        struct linger at_once = {1, 0};
        setsockopt(slot->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(slot->fd);
    }
    if (slot->pid) {
        kill(slot->pid, SIGKILL);
        waitpid(slot->pid, NULL, 0);
    }
    if (slot->pair >= 0)
        close(slot->pair);
    slot->number = 0;
}

static void end_session(void) {
    int i;
    for (i = 0; i < SOCKETS; i++)
        if (slots[i].number)
            abort_slot(&slots[i]);
    numbers = 0;
    served = NULL;
}

static int diag = -1;

/* A close that waits does so even for a descriptor that does not block; it waits in a process of its own. The other
 * descriptors are closed there before anything else happens here: a connection ends with the last descriptor of it. */
static int close_lingering(struct slot *slot, int seconds) {
    struct linger linger;
    int pair[2], i;
    char word = 0;
    pid_t pid;
    linger.l_onoff = 1;
    linger.l_linger = seconds;
    if (setsockopt(slot->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0)
        return errno;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return errno;
    pid = fork();
    if (pid < 0) {
        int error = errno;
        close(pair[0]);
        close(pair[1]);
        return error;
    }
    if (pid == 0) {
        close(pair[0]);
        for (i = 0; i < SOCKETS; i++)
            if (slots[i].number && &slots[i] != slot) {
                if (slots[i].fd >= 0)
                    close(slots[i].fd);
                if (slots[i].pair >= 0)
                    close(slots[i].pair);
            }
        for (i = 0; i < CLIENTS; i++)
            if (clients[i].stage != FREE) {
                close(clients[i].in);
                close(clients[i].out);
            }
        close(listener);
        close(diag);
        fcntl(slot->fd, F_SETFL, fcntl(slot->fd, F_GETFL) & ~O_NONBLOCK);
        if (write(pair[1], &word, 1) != 1 || read(pair[1], &word, 1) != 1)
            _exit(EIO);
        _exit(close(slot->fd) < 0 ? errno : 0);
    }
    close(pair[1]);
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    while (read(pair[0], &word, 1) < 0 && errno == EINTR)
        ;
    close(slot->fd);
    while (write(pair[0], &word, 1) < 0 && errno == EINTR)
        ;
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    slot->fd = -1;
    slot->pair = pair[0];
    slot->pid = pid;
    return EAGAIN;
}

/* How a close that waits has ended, EAGAIN as long as it has not. */
static int lingered(struct slot *slot) {
    char word;
    int status;
    if (slot->pair < 0)
        return slot->failed;
    if (read(slot->pair, &word, 1) < 0 && (errno == EAGAIN || errno == EINTR))
        return EAGAIN;
    close(slot->pair);
    slot->pair = -1;
    if (waitpid(slot->pid, &status, 0) == slot->pid)
        slot->failed = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
    slot->pid = 0;
    return slot->failed;
}

/* ---- what Linux tells --------------------------------------------------------------------------------------------- */

struct end {
    int family; /* 4 or 6 */
    uint8_t address[16];
    uint16_t port;
};

#define ANY_STATE 0xffffffffu
#define NOTHING (-1)

static int by_proc; /* states come from /proc/net/tcp */

#ifdef __linux__

#define SYN_RECEIVED (1u << 3 | 1u << 12)

static const char *const STATES[] = {"", "ESTABLISHED", "SYN-SENT", "SYN-RECEIVED", "FIN-WAIT-1", "FIN-WAIT-2",
                                     "TIME-WAIT", "CLOSED", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING",
                                     "SYN-RECEIVED"};

static uint32_t native(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

/* A request of NETLINK_SOCK_DIAG for TCP: one look-up, or a dump. */
static int diag_ask(int family, const struct end *local, const struct end *remote, uint32_t states, int dump) {
    uint8_t ask[16 + 56] = {0};
    uint32_t word = sizeof ask;
    uint16_t half = 20; /* SOCK_DIAG_BY_FAMILY */
    memcpy(ask, &word, 4);
    memcpy(ask + 4, &half, 2);
    half = dump ? 0x301 : 0x1;
    memcpy(ask + 6, &half, 2);
    ask[16] = (uint8_t)family;
    ask[17] = IPPROTO_TCP;
    memcpy(ask + 20, &states, 4);
    if (local) {
        put_number(ask + 24, local->port, 2);
        put_number(ask + 26, remote->port, 2);
        memcpy(ask + 28, local->address, 16);
        memcpy(ask + 44, remote->address, 16);
    }
    memset(ask + 64, 0xff, 8);
    return send(diag, ask, sizeof ask, 0) == (ssize_t)sizeof ask ? 0 : errno;
}

/* The state of what a segment would meet, NOTHING, or minus an errno less one. */
static int diag_find(const struct end *local, const struct end *remote) {
    static uint8_t answer[4096];
    ssize_t size;
    uint16_t kind;
    int error = diag_ask(local->family == 4 ? AF_INET : AF_INET6, local, remote, ANY_STATE, 0);
    if (error)
        return -1 - error;
    size = recv(diag, answer, sizeof answer, 0);
    if (size < 20)
        return -1 - EIO;
    memcpy(&kind, answer + 4, 2);
    if (kind == 2) { /* NLMSG_ERROR */
        int32_t number_;
        memcpy(&number_, answer + 16, 4);
        return number_ == -ENOENT ? NOTHING : -1 + (number_ < 0 ? number_ : -EIO);
    }
    return answer[17];
}

/* So many entries of that port in these states, of one family; minus an errno if the kernel has no sock_diag of TCP. */
static int diag_count(int family, uint32_t states, uint16_t port) {
    static uint8_t answer[1 << 17];
    int count = 0, error = diag_ask(family, NULL, NULL, states, 1);
    if (error)
        return -error;
    for (;;) {
        ssize_t size = recv(diag, answer, sizeof answer, 0);
        size_t at = 0;
        if (size < 16)
            return -EIO;
        while (at + 16 <= (size_t)size) {
            uint32_t length = native(answer + at);
            uint16_t kind;
            memcpy(&kind, answer + at + 4, 2);
            if (kind == 2 || kind == 3) { /* NLMSG_ERROR, NLMSG_DONE: either has an errno */
                int32_t number_ = 0;
                if (length >= 20 && at + 20 <= (size_t)size)
                    memcpy(&number_, answer + at + 16, 4);
                return number_ < 0 ? number_ : count;
            }
            if (length < 16 || at + 22 > (size_t)size)
                return -EIO;
            count += number(answer + at + 20, 2) == port;
            at += (length + 3) & ~3u;
        }
    }
}

/* The same of /proc/net/tcp and tcp6, where a kernel has no sock_diag. Its addresses are words of the machine's order.
 * With `remote` the state of the connection, or NOTHING; without it how many entries of local's port are in `states`. */
static int proc_find(const struct end *local, const struct end *remote, uint32_t states) {
    char line[512], own[48], other[48];
    int words = local->family == 4 ? 1 : 4, found = remote ? NOTHING : 0, i;
    FILE *table = fopen(local->family == 4 ? "/proc/net/tcp" : "/proc/net/tcp6", "r");
    if (!table)
        return local->family == 4 ? -1 - errno : found;
    for (i = 0; i < words; i++) {
        sprintf(own + 8 * i, "%08X", (unsigned)native(local->address + 4 * i));
        sprintf(other + 8 * i, "%08X", remote ? (unsigned)native(remote->address + 4 * i) : 0);
    }
    sprintf(own + 8 * words, ":%04X", local->port);
    sprintf(other + 8 * words, ":%04X", remote ? remote->port : 0);
    while (fgets(line, sizeof line, table)) {
        char here[48], there[48];
        unsigned state;
        if (sscanf(line, " %*[0-9]: %47s %47s %X", here, there, &state) != 3 || state > 12)
            continue;
        if (!remote)
            found += (states >> state & 1) && strcmp(strchr(here, ':') ? strchr(here, ':') : here, own + 8 * words) == 0;
        else if (strcmp(here, own) == 0 && strcmp(there, other) == 0)
            found = (int)state;
    }
    fclose(table);
    return found;
}

static int find_state(const struct end *local, const struct end *remote) {
    return by_proc ? proc_find(local, remote, 0) : diag_find(local, remote);
}

/* Does a socket listen there? One that is bound to all addresses does as well. */
static int listens(const struct end *local) {
    struct end nobody, all = *local;
    int state;
    memset(&nobody, 0, sizeof nobody);
    state = find_state(local, &nobody);
    if (by_proc && state == NOTHING) {
        memset(all.address, 0, sizeof all.address);
        state = proc_find(&all, &nobody, 0);
    }
    return state < NOTHING ? state : state == 10;
}

static int half_open(uint16_t port) {
    int four, six;
    if (by_proc) {
        struct end local;
        memset(&local, 0, sizeof local);
        local.port = port;
        local.family = 4;
        four = proc_find(&local, NULL, SYN_RECEIVED);
        local.family = 6;
        six = proc_find(&local, NULL, SYN_RECEIVED);
        return four < 0 ? four + 1 : four + six;
    }
    four = diag_count(AF_INET, SYN_RECEIVED, port);
    six = diag_count(AF_INET6, SYN_RECEIVED, port);
    return four < 0 ? four : four + (six < 0 ? 0 : six);
}

static void information(int fd, char *told, size_t room) {
    uint8_t info[192] = {0};
    socklen_t size = sizeof info;
    *told = 0;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0 && size >= 40)
        snprintf(told, room,
                 "retransmits=%u probes=%u backoff=%u options=%u rto_us=%u ato_us=%u send_mss=%u receive_mss=%u "
                 "unacked=%u sacked=%u lost=%u retrans=%u",
                 (unsigned)info[2], (unsigned)info[3], (unsigned)info[4], (unsigned)info[5],
                 (unsigned)native(info + 8), (unsigned)native(info + 12), (unsigned)native(info + 16),
                 (unsigned)native(info + 20), (unsigned)native(info + 24), (unsigned)native(info + 28),
                 (unsigned)native(info + 32), (unsigned)native(info + 36));
}

static void look_around(void) {
    uint8_t address[12] = {0};
    uint16_t family = AF_NETLINK;
    FILE *table;
    offered |= BIT(INFORMATION);
    memcpy(address, &family, 2);
    if (!by_proc) {
        diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 4 /* NETLINK_SOCK_DIAG */);
        if (diag >= 0 && bind(diag, (struct sockaddr *)(void *)address, sizeof address) == 0 &&
            diag_count(AF_INET, 0, 0) >= 0) {
            offered |= BIT(STATE) | BIT(LISTENING) | BIT(HALF_OPEN);
            return;
        }
        by_proc = 1;
    }
    table = fopen("/proc/net/tcp", "r");
    if (table) {
        offered |= BIT(STATE) | BIT(LISTENING) | BIT(HALF_OPEN);
        fclose(table);
    }
}

#else

static const char *const STATES[] = {""};

static int find_state(const struct end *local, const struct end *remote) {
    (void)local;
    (void)remote;
    return NOTHING;
}

static int listens(const struct end *local) {
    (void)local;
    return 0;
}

static int half_open(uint16_t port) {
    (void)port;
    return 0;
}

static void information(int fd, char *told, size_t room) {
    (void)fd;
    (void)room;
    *told = 0;
}

static void look_around(void) {
    (void)by_proc;
}

#endif

/* ---- commands ----------------------------------------------------------------------------------------------------- */

static struct {
    const uint8_t *at, *end; /* the fields that have not been taken */
    int malformed;
    uint8_t value[LONGEST];
    size_t size;
} request;

static uint64_t take(int size) {
    uint64_t value = 0;
    if (request.end - request.at < size) {
        request.malformed = 1;
        request.at = request.end;
        return 0;
    }
    value = number(request.at, size);
    request.at += size;
    return value;
}

static struct end take_end(void) {
    struct end end;
    int i;
    memset(&end, 0, sizeof end);
    end.family = (int)take(1);
    if (end.family != 4 && end.family != 6)
        request.malformed = 1;
    else
        for (i = 0; i < (end.family == 4 ? 4 : 16); i++)
            end.address[i] = (uint8_t)take(1);
    end.port = (uint16_t)take(2);
    return end;
}

static int well_formed(void) {
    return !request.malformed && request.at == request.end;
}

static void give_number(uint64_t value, int size) {
    put_number(request.value + request.size, value, size);
    request.size += (size_t)size;
}

static void give_text(const char *text) {
    give_number(strlen(text), 2);
    memcpy(request.value + request.size, text, strlen(text));
    request.size += strlen(text);
}

static socklen_t socket_address(const struct end *end, struct sockaddr_storage *address) {
    memset(address, 0, sizeof *address);
    if (end->family == 4) {
        struct sockaddr_in *four = (struct sockaddr_in *)(void *)address;
        four->sin_family = AF_INET;
        four->sin_port = htons(end->port);
        memcpy(&four->sin_addr, end->address, 4);
        return sizeof *four;
    } else {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)address;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(end->port);
        memcpy(&six->sin6_addr, end->address, 16);
        return sizeof *six;
    }
}

static const char *failed(void) {
    return errno_name(errno == EWOULDBLOCK ? EAGAIN : errno);
}

static const char *make_socket(void) {
    struct slot *slot = free_slot();
    int family = (int)take(1), on = 1, fd;
    if (!well_formed() || (family != 4 && family != 6))
        return "EPROTO";
    if (!slot)
        return "EMFILE";
    fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
    if (fd < 0)
        return failed();
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    give_number(new_slot(slot, fd, family), 4);
    return NULL;
}

static const char *set_option(struct slot *slot) {
    int64_t value = (int64_t)take(8);
    size_t size = (size_t)take(2), i;
    int number_ = (int)value;
    const char *name = (const char *)request.at;
    if (request.malformed || (size_t)(request.end - request.at) != size)
        return "EPROTO";
    if (value < INT32_MIN || value > INT32_MAX)
        return "EINVAL";
    for (i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++)
        if (strlen(OPTIONS[i].name) == size && memcmp(OPTIONS[i].name, name, size) == 0)
            return setsockopt(slot->fd, OPTIONS[i].level, OPTIONS[i].number, &number_, sizeof number_) < 0 ? failed()
                                                                                                           : NULL;
    return "ENOPROTOOPT";
}

static const char *bind_slot(struct slot *slot, const struct end *local) {
    struct sockaddr_storage address;
    socklen_t size = socket_address(local, &address);
    if (local->family != slot->family)
        return "EAFNOSUPPORT";
    return bind(slot->fd, (struct sockaddr *)(void *)&address, size) < 0 ? failed() : NULL;
}

static const char *start_listening(struct slot *slot) {
    struct end local = take_end();
    int backlog = (int)take(2);
    const char *error;
    if (!well_formed())
        return "EPROTO";
    error = bind_slot(slot, &local);
    if (error)
        return error;
    return listen(slot->fd, backlog) < 0 ? failed() : NULL;
}

static const char *start_connecting(struct slot *slot) {
    struct end local = take_end(), remote = take_end();
    struct sockaddr_storage address;
    socklen_t size;
    const char *error;
    if (!well_formed())
        return "EPROTO";
    if (remote.family != slot->family)
        return "EAFNOSUPPORT";
    error = bind_slot(slot, &local);
    if (error)
        return error;
    size = socket_address(&remote, &address);
    if (connect(slot->fd, (struct sockaddr *)(void *)&address, size) < 0 && errno != EINPROGRESS)
        return failed();
    slot->connecting = 1;
    return NULL;
}

static const char *socket_error(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return failed();
    return error ? errno_name(error) : NULL;
}

static const char *is_connected(struct slot *slot) {
    struct pollfd ready;
    ready.fd = slot->fd;
    ready.events = POLLOUT;
    ready.revents = 0;
    if (!slot->connecting)
        return "ENOTCONN";
    if (poll(&ready, 1, 0) < 1)
        return "EAGAIN";
    return socket_error(slot->fd);
}

static const char *accept_one(struct slot *slot) {
    struct slot *made = free_slot();
    int fd;
    if (!made)
        return "EMFILE";
    fd = accept(slot->fd, NULL, NULL);
    if (fd < 0)
        return failed();
    give_number(new_slot(made, fd, slot->family), 4);
    return NULL;
}

static const char *send_octets(struct slot *slot) {
    int urgent = (int)take(1);
    ssize_t taken;
    if (request.malformed || urgent > 1)
        return "EPROTO";
    taken = send(slot->fd, request.at, (size_t)(request.end - request.at), MSG_NOSIGNAL | (urgent ? MSG_OOB : 0));
    if (taken < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        return failed();
    give_number(taken < 0 ? 0 : (uint64_t)taken, 4);
    return NULL;
}

static const char *receive_octets(struct slot *slot) {
    size_t most = (size_t)take(4), room = sizeof request.value - 64;
    ssize_t got;
    if (!well_formed())
        return "EPROTO";
    got = recv(slot->fd, request.value, most < room ? most : room, 0);
    if (got < 0)
        return failed();
    request.size = (size_t)got;
    return NULL;
}

static const char *shut_down(struct slot *slot) {
    int half = (int)take(1);
    if (!well_formed() || half < 1 || half > 3)
        return "EPROTO";
    return shutdown(slot->fd, half == 1 ? SHUT_RD : half == 2 ? SHUT_WR : SHUT_RDWR) < 0 ? failed() : NULL;
}

static const char *close_slot(struct slot *slot) {
    int32_t seconds = (int32_t)(uint32_t)take(4);
    int error;
    if (!well_formed())
        return "EPROTO";
    slot->waiting = 0;
    if (seconds >= 0) {
        error = close_lingering(slot, seconds);
        return errno_name(error);
    }
    error = close(slot->fd) < 0 ? errno : 0;
    slot->fd = -1;
    return error ? errno_name(error) : NULL;
}

static const char *tell_state(void) {
    struct end local = take_end(), remote = take_end();
    int state;
    if (!well_formed() || local.family != remote.family)
        return "EPROTO";
    state = find_state(&local, &remote);
    if (state < NOTHING)
        return errno_name(-1 - state);
    give_text(state <= 0 || state == 10 || state > 12 ? "CLOSED" : STATES[state]);
    return NULL;
}

static const char *tell_listening(void) {
    struct end local = take_end();
    int answer;
    if (!well_formed())
        return "EPROTO";
    answer = listens(&local);
    if (answer < NOTHING)
        return errno_name(-1 - answer);
    give_number(answer == 1, 1);
    return NULL;
}

static const char *tell_half_open(void) {
    uint16_t port = (uint16_t)take(2);
    int count;
    if (!well_formed())
        return "EPROTO";
    count = half_open(port);
    if (count < 0)
        return errno_name(-count);
    give_number((uint64_t)count, 4);
    return NULL;
}

/* The errno name, or NULL and the value in `request`. */
static const char *command(unsigned op, uint32_t socket_) {
    struct slot *slot;
    const char *error;
    char told[512];
    if (op < 1 || op > COMMANDS || !(offered & BIT(op)))
        return "ENOSYS";
    switch (op) {
    case SOCKET:
        return make_socket();
    case STATE:
        return tell_state();
    case LISTENING:
        return tell_listening();
    case HALF_OPEN:
        return tell_half_open();
    }
    slot = find_slot(socket_);
    if (!slot || (slot->fd < 0 && op != ABORT && op != CLOSED))
        return "EBADF";
    if ((op == CONNECTED || op == ACCEPT || op == CLOSED || op == ABORT || op == ERROR || op == INFORMATION) &&
        !well_formed())
        return "EPROTO";
    switch (op) {
    case OPTION:
        return set_option(slot);
    case LISTEN:
        return start_listening(slot);
    case CONNECT:
        return start_connecting(slot);
    case CONNECTED:
        error = is_connected(slot);
        break;
    case ACCEPT:
        error = accept_one(slot);
        break;
    case SEND:
        return send_octets(slot);
    case RECV:
        error = receive_octets(slot);
        break;
    case SHUTDOWN:
        return shut_down(slot);
    case CLOSE:
        error = close_slot(slot);
        op = CLOSED;
        break;
    case CLOSED:
        if (slot->fd >= 0)
            return "EINVAL";
        error = lingered(slot) ? errno_name(lingered(slot)) : NULL;
        break;
    case ABORT:
        abort_slot(slot);
        return NULL;
    case ERROR:
        error = socket_error(slot->fd);
        give_text(error ? error : "");
        return NULL;
    default:
        information(slot->fd, told, sizeof told);
        give_text(told);
        return NULL;
    }
    if (error && strcmp(error, "EAGAIN") == 0)
        slot->waiting |= BIT(op);
    else
        slot->waiting &= ~BIT(op);
    return error;
}

static void answer_command(struct client *client, const uint8_t *fields, size_t size) {
    const char *error;
    uint8_t head[32];
    request.at = fields + 5;
    request.end = fields + size;
    request.malformed = 0;
    request.size = 0;
    error = command(fields[0], (uint32_t)number(fields + 1, 4));
    if (error) {
        put_number(head, strlen(error), 2);
        say(client, 'R', head, 2, (const uint8_t *)error, strlen(error));
    } else {
        put_number(head, 0, 2);
        say(client, 'R', head, 2, request.value, request.size);
    }
}

/* ---- the handshake ------------------------------------------------------------------------------------------------ */

static int at_random(uint8_t *octets, size_t size) {
    int source = open("/dev/urandom", O_RDONLY);
    ssize_t got = source < 0 ? -1 : read(source, octets, size);
    if (source >= 0)
        close(source);
    return got == (ssize_t)size;
}

static void question(const struct client *client, uint8_t fields[80]) {
    memcpy(fields, MAGIC, 13);
    put_number(fields + 13, VERSION, 2);
    fields[15] = (uint8_t)has_key;
    memcpy(fields + 16, client->theirs, 32);
    memcpy(fields + 48, client->ours, 32);
}

/* What either side has to prove: it knows the key, and means this greeting and this question. */
static void proof(const struct client *client, const char *side, const uint8_t *more, size_t size,
                  uint8_t digest[32]) {
    struct sha sha;
    uint8_t fields[80];
    question(client, fields);
    hmac_begin(&sha, 0x36);
    sha_add(&sha, (const uint8_t *)side, strlen(side));
    sha_add(&sha, fields, sizeof fields);
    sha_add(&sha, more, size);
    hmac_end(&sha, digest);
}

static void take_greeting(struct client *client, const uint8_t *fields, size_t size) {
    uint8_t asked[80];
    if (size != 47 || memcmp(fields, MAGIC, 13) != 0) {
        refuse(client, "that is no greeting");
        return;
    }
    if (client->stage == NEW || memcmp(client->theirs, fields + 15, 32) != 0) {
        if (client == served)
            end_session();
        memcpy(client->theirs, fields + 15, 32);
        if (!at_random(client->ours, 32)) {
            refuse(client, "no random numbers to be had");
            return;
        }
        client->stage = GREETED;
    }
    question(client, asked);
    say(client, 'Q', asked, sizeof asked, NULL, 0);
    if (number(fields + 13, 2) != VERSION)
        refuse(client, "this agent speaks version 1 of the protocol");
}

static void put_text(uint8_t *fields, size_t *size, const char *text) {
    put_number(fields + *size, strlen(text), 2);
    memcpy(fields + *size + 2, text, strlen(text));
    *size += 2 + strlen(text);
}

static void take_proof(struct client *client, const uint8_t *fields, size_t size) {
    uint8_t digest[32], hello[1024];
    size_t length = 12;
    struct utsname system_;
    char told[600] = "unknown";
    proof(client, "harness", NULL, 0, digest);
    if (size != 32 || !same(digest, fields, 32)) {
        refuse(client, "wrong key");
        return;
    }
    if (served)
        refuse(served, "another harness has taken over");
    if (!boxes(client, 4 + LONGEST, 2 * LONGEST + 65536)) {
        refuse(client, "no memory left");
        return;
    }
    client->stage = SERVED;
    served = client;
    put_number(hello, VERSION, 2);
    put_number(hello + 2, offered, 4);
    put_number(hello + 6, LONGEST, 4);
    put_number(hello + 10, SOCKETS, 2);
    put_text(hello, &length, NAME);
    put_text(hello, &length, RELEASE);
    if (uname(&system_) >= 0)
        snprintf(told, sizeof told, "%.180s %.180s %.180s", system_.sysname, system_.release, system_.machine);
    put_text(hello, &length, told);
    proof(client, "agent", hello, length, digest);
    say(client, 'H', hello, length, digest, 32);
}

/* ---- what comes in ------------------------------------------------------------------------------------------------ */

static void take_message(struct client *client, int type, const uint8_t *fields, size_t size) {
    if (type == 'H')
        take_greeting(client, fields, size);
    else if (type == 'K' && client->stage == GREETED)
        take_proof(client, fields, size);
    else if (type == 'C' && client->stage == SERVED && size >= 5)
        answer_command(client, fields, size);
    else if (type == 'L' && client->stage == SERVED && size <= 64)
        say(client, 'L', fields, size, NULL, 0);
    else
        refuse(client, client->stage == SERVED ? "that is no request" : "nobody has greeted");
}

static void drop(struct client *client, size_t size) {
    memmove(client->inbox, client->inbox + size, client->filled - size);
    client->filled -= size;
}

/* Looks for a greeting in what a device brings; true if one begins the inbox. */
static int found_greeting(struct client *client) {
    uint8_t begin[18] = {0, 0, 0, 48, 'H'};
    size_t at = 0;
    memcpy(begin + 5, MAGIC, 13);
    while (at < client->filled) {
        size_t left = client->filled - at;
        if (memcmp(client->inbox + at, begin, left < 18 ? left : 18) == 0)
            break;
        at++;
    }
    drop(client, at);
    if (at > 0 && !client->told)
        refuse(client, "nobody has greeted"); /* who goes on with another agent's conversation learns it at once */
    client->lost = client->filled < 18;
    return !client->lost;
}

static void take_all(struct client *client) {
    while (!client->ending && has_room(client)) {
        size_t longest = client->stage == SERVED ? LONGEST : SHORT, length;
        if (client->lost && !found_greeting(client))
            break;
        if (client->filled < 4)
            break;
        length = (size_t)number(client->inbox, 4);
        if (length < 1 || length > longest) {
            refuse(client, "that is no message");
            drop(client, 1); /* or a device would be at the same place for ever */
            continue;
        }
        if (client->filled < 4 + length)
            break;
        client->until = 0;
        take_message(client, client->inbox[4], client->inbox + 5, length - 1);
        drop(client, client->lost ? 1 : 4 + length);
        client->told = client->lost;
    }
    if (client->ending)
        return;
    if (client->lost || !has_room(client))
        client->until = 0;
    else if (client->filled == 0 && (client->stage == SERVED || lasts))
        client->until = 0;
    else if (client->until == 0)
        client->until = now_ms() + LIMIT_MS;
}

static void hang_up(struct client *client) {
    int refused = client->ending != 0;
    if (client->lasting) {
        if (client == served)
            end_session();
        client->stage = NEW;
        client->filled = client->queued = 0;
        client->until = 0;
        client->lost = 1;
        client->told = 0;
        client->down = now_ms() + RETRY_MS;
        return;
    }
    forget_client(client);
    if (lasts)
        exit(refused);
}

static void read_some(struct client *client) {
    ssize_t got;
    if (client->ending)
        client->filled = 0; /* what comes behind the last word is read, so that this gets there, and thrown away */
    got = read(client->in, client->inbox + client->filled, client->room - client->filled);
    if (got > 0 && !client->ending) {
        client->filled += (size_t)got;
        take_all(client);
    } else if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        hang_up(client);
    }
}

static void write_some(struct client *client) {
    ssize_t put = client->queued ? write(client->out, client->outbox, client->queued) : 0;
    if (put < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            hang_up(client);
        return;
    }
    memmove(client->outbox, client->outbox + put, client->queued - (size_t)put);
    client->queued -= (size_t)put;
    if (client->ending == 1 && client->queued == 0) {
        client->ending = 2;
        if (lasts || shutdown(client->out, SHUT_WR) < 0)
            hang_up(client);
    }
}

/* ---- the loop ----------------------------------------------------------------------------------------------------- */

/* What could be answered otherwise now is told, once; who cares asks. */
static void wake(struct slot *slot, short events) {
    static const struct {
        unsigned op;
        short events;
    } wanted[] = {{CONNECTED, POLLOUT}, {ACCEPT, POLLIN}, {RECV, POLLIN}, {CLOSED, POLLIN}};
    uint8_t fields[5];
    size_t i;
    for (i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (slot->waiting & BIT(wanted[i].op) && events & (wanted[i].events | POLLHUP | POLLERR | POLLNVAL)) {
            if (!has_room(served))
                return;
            slot->waiting &= ~BIT(wanted[i].op);
            put_number(fields, slot->number, 4);
            fields[4] = (uint8_t)wanted[i].op;
            say(served, 'W', fields, 5, NULL, 0);
        }
}

static short wanted_of(const struct slot *slot) {
    short events = 0;
    if (slot->waiting & (BIT(ACCEPT) | BIT(RECV) | BIT(CLOSED)))
        events |= POLLIN;
    if (slot->waiting & BIT(CONNECTED))
        events |= POLLOUT;
    return events;
}

/* False if there is a connection for which nothing is left. */
static int welcome(void) {
    int on = 1, fd = accept(listener, NULL, NULL);
    struct client *client;
    if (fd < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    client = new_client(fd, fd);
    if (client)
        client->until = now_ms() + LIMIT_MS;
    return 1;
}

static int watch(struct pollfd *polled, int fd, short events) {
    polled->fd = fd;
    polled->events = events;
    polled->revents = 0;
    return 1;
}

static void serve(void) {
    static struct pollfd polled[2 * CLIENTS + 1 + SOCKETS];
    static int whose[SOCKETS];
    int64_t full = 0; /* there was no descriptor left for a connection: the next attempt is made then */
    for (;;) {
        int count = 0, first[CLIENTS], slot_first, listens_now, i;
        int64_t now = now_ms(), until = now + 3600000;
        for (i = 0; i < CLIENTS; i++) {
            struct client *client = &clients[i];
            first[i] = count;
            if (client->stage == FREE)
                continue;
            if (client->down > now) {
                until = client->down < until ? client->down : until;
                continue;
            }
            if (client->until && client->until < until)
                until = client->until;
            count += watch(&polled[count], client->in,
                           client->ending || (has_room(client) && client->filled < client->room) ? POLLIN : 0);
            /* Nothing is watched twice, nor for nothing: poll takes no more entries than there may be descriptors, and
             * Linux loses the wake of a virtio port that is polled twice, by two descriptors of one port as well. */
            if (client->queued || client->ending == 1) {
                if (client->out != client->in)
                    count += watch(&polled[count], client->out, POLLOUT);
                else
                    polled[count - 1].events |= POLLOUT;
            }
        }
        slot_first = count;
        for (i = 0; served && has_room(served) && i < SOCKETS; i++)
            if (slots[i].number && slots[i].waiting) {
                whose[count - slot_first] = i;
                count += watch(&polled[count], slots[i].fd >= 0 ? slots[i].fd : slots[i].pair, wanted_of(&slots[i]));
            }
        listens_now = listener >= 0 && full <= now;
        if (listens_now)
            watch(&polled[count], listener, POLLIN);
        else if (listener >= 0 && full < until)
            until = full;
        if (poll(polled, (nfds_t)(count + listens_now), (int)(until > now ? until - now : 0)) < 0) {
            if (errno != EINTR)
                die("poll", strerror(errno));
            continue; /* nothing is known to be ready */
        }
        for (i = slot_first; i < count; i++)
            if (polled[i].revents && served)
                wake(&slots[whose[i - slot_first]], polled[i].revents);
        now = now_ms();
        for (i = 0; i < CLIENTS; i++) {
            struct client *client = &clients[i];
            struct pollfd *in = &polled[first[i]];
            if (client->stage == FREE || client->down > now || in->fd != client->in || first[i] >= slot_first)
                continue;
            if (client->until && client->until <= now && client->ending)
                hang_up(client);
            else if (client->until && client->until <= now)
                refuse(client, client->stage == SERVED || lasts ? "a message was not finished in 10 s"
                                                                : "no handshake within 10 s");
            if (client->stage != FREE && in->revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL))
                read_some(client);
            if (client->stage != FREE && (client->queued || client->ending == 1))
                write_some(client);
            if (client->stage != FREE && client->filled && has_room(client))
                take_all(client); /* what had to wait for room */
        }
        if (listens_now && polled[count].revents && !welcome())
            full = now + RETRY_MS;
    }
}

/* ---- the beginning ------------------------------------------------------------------------------------------------ */

static void read_key(const char *name) {
    static uint8_t octets[4097];
    FILE *file = fopen(name, "rb");
    size_t size;
    if (!file)
        die(name, strerror(errno));
    size = fread(octets, 1, sizeof octets, file);
    fclose(file);
    if (size == sizeof octets)
        die(name, "a key has 4096 octets at most");
    while (size > 0 && (octets[size - 1] == '\n' || octets[size - 1] == '\r'))
        size--;
    if (size < LEAST_KEY)
        die(name, "a key has 16 octets at least");
    if (size > 64) {
        struct sha sha;
        sha_begin(&sha);
        sha_add(&sha, octets, size);
        sha_end(&sha, key);
    } else {
        memcpy(key, octets, size);
    }
    memset(octets, 0, sizeof octets);
    has_key = 1;
}

static void start_listener(char *where) {
    struct end end;
    struct sockaddr_storage address;
    static const uint8_t nowhere[16];
    char *colon = strrchr(where, ':'), *tail, text[64];
    long port = colon ? strtol(colon + 1, &tail, 10) : -1;
    int on = 1;
    socklen_t size;
    memset(&end, 0, sizeof end);
    if (!colon || !colon[1] || *tail || port < 0 || port > 65535)
        die(where, "ADDRESS:PORT or [ADDRESS]:PORT is wanted");
    *colon = 0;
    end.port = (uint16_t)port;
    if (*where == '[' && colon[-1] == ']') {
        colon[-1] = 0;
        where++;
    }
    end.family = strchr(where, ':') ? 6 : 4;
    if (inet_pton(end.family == 4 ? AF_INET : AF_INET6, where, end.address) != 1)
        die(where, "no IP address");
    if (memcmp(end.address, nowhere, 16) == 0)
        die(where, "one address of this machine is wanted, not all of them");
    size = socket_address(&end, &address);
    listener = socket(end.family == 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
    if (listener < 0)
        die(where, strerror(errno));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)(void *)&address, size) < 0 || listen(listener, 8) < 0)
        die(where, strerror(errno));
    fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK);
    fcntl(listener, F_SETFD, FD_CLOEXEC);
    getsockname(listener, (struct sockaddr *)(void *)&address, &size);
    port = ntohs(end.family == 4 ? ((struct sockaddr_in *)(void *)&address)->sin_port
                                 : ((struct sockaddr_in6 *)(void *)&address)->sin6_port);
    inet_ntop(end.family == 4 ? AF_INET : AF_INET6, end.address, text, sizeof text);
    fprintf(stderr, "tcpqual_agent: listening on %s%s%s:%ld\n", end.family == 6 ? "[" : "", text,
            end.family == 6 ? "]" : "", port);
}

static void start_stdio(void) {
    struct client *client;
    int in = dup(0), out = dup(1), nothing = open("/dev/null", O_RDWR);
    if (in < 0 || out < 0)
        die("standard input and output", strerror(errno));
    if (nothing >= 0) {
        dup2(nothing, 0);
        close(nothing);
    }
    dup2(2, 1); /* what is printed must not get between the messages */
    fcntl(in, F_SETFL, fcntl(in, F_GETFL) | O_NONBLOCK);
    fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK);
    client = new_client(in, out);
    if (!client)
        die("standard input", "no memory");
    lasts = 1;
}

static void start_device(const char *name) {
    struct client *client;
    struct termios line;
    int fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        die(name, strerror(errno));
    if (tcgetattr(fd, &line) == 0) { /* a serial line: octets as they are; its speed is set by whoever starts this */
        line.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON | IXOFF);
        line.c_oflag &= ~(tcflag_t)OPOST;
        line.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
        line.c_cflag = (line.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8 | CLOCAL | CREAD;
        line.c_cc[VMIN] = 1;
        line.c_cc[VTIME] = 0;
        tcsetattr(fd, TCSANOW, &line);
    }
    client = new_client(fd, fd);
    if (!client)
        die(name, "no memory");
    client->lasting = client->lost = lasts = 1;
}

int main(int count, char **words) {
    char *where = NULL, *device = NULL, *file = NULL;
    int stdio = 0, i;
    for (i = 1; i < count; i++) {
        char **value = strcmp(words[i], "--listen") == 0   ? &where
                       : strcmp(words[i], "--device") == 0 ? &device
                       : strcmp(words[i], "--key") == 0    ? &file
                                                           : NULL;
        if (value && i + 1 < count)
            *value = words[++i];
        else if (strcmp(words[i], "--stdio") == 0)
            stdio = 1;
        else if (strcmp(words[i], "--procfs") == 0)
            by_proc = 1; /* states from /proc/net/tcp even where the kernel has sock_diag */
        else if (strcmp(words[i], "--help") == 0) {
            puts("usage: tcpqual_agent (--listen ADDRESS:PORT | --stdio | --device NAME) [--key FILE] [--procfs]");
            return 0;
        } else
            die(words[i], "not understood; --listen ADDRESS:PORT, --stdio or --device NAME, --key FILE, --procfs");
    }
    if ((where != NULL) + (device != NULL) + stdio != 1)
        die("usage", "one of --listen ADDRESS:PORT, --stdio and --device NAME is wanted");
    if (where && !file)
        die("--listen", "needs --key FILE: who reaches the address must not be served for that alone");
    signal(SIGPIPE, SIG_IGN);
    if (file)
        read_key(file);
    look_around();
    if (where)
        start_listener(where);
    else if (device)
        start_device(device);
    else
        start_stdio();
    serve();
    return 0;
}
