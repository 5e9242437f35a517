/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine that libslirp believes to run on. libslirp is a NAT: behind its TCP it wants sockets of the host. Here
 * they are lines within this process, each with libslirp at one end and our application at the other. The socket
 * functions of the C library are replaced for libslirp (host.c), so that nothing ever reaches a network, what it is
 * told comes at once, and a run repeats itself.
 */
#ifndef HOST_H
#define HOST_H

#include <stddef.h>
#include <stdint.h>

/* An address and a port; the family is 4 or 6. */
struct place {
    uint8_t family, address[16];
    uint16_t port;
};

/* One connection: a TCP of libslirp towards the guest, and what it relays from and to our application. */
struct line {
    struct line *next;
    struct place here, there; /* the stack's end and the guest's */
    int handle;               /* libslirp's descriptor, -1 once it has closed it */
    uint32_t listener, owner; /* the application's sockets: who listened, and who holds it; 0 for none */
    int state;                /* of libslirp's TCP, as last asked */
    int established;          /* it has been */
    int unread;               /* octets that libslirp holds for the application */

    const uint8_t *out; /* what the application hands over in this very call */
    size_t out_left;
    int urgent, write_closed, read_closed, closed, reset;

    size_t wanted; /* how many octets the application asks for in this very call */
    uint8_t *got;
    size_t got_size;
    int ended;       /* libslirp has nothing more to give */
    const char *why; /* host_because when libslirp closed it */
};

enum { HOST_IN = 1, HOST_OUT = 2, HOST_URGENT = 4 };

/* Asked when libslirp connects to a port of the host: the line, or NULL if nobody listens there. */
extern struct line *(*host_dialled)(int family, uint16_t port);

/* What would be the reason if libslirp closed a line now. */
extern const char *host_because;

/* Set whenever libslirp has done something that a waiting call may want to know. */
extern int host_changed;

/* The next socket on which libslirp listens has this connection waiting. */
void host_expect(struct line *line);

/* What a descriptor of libslirp's is ready for. */
int host_ready(int handle);

/* The line behind a descriptor, NULL if there is none. */
struct line *host_line(int handle);

#endif
